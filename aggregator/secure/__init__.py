"""Rounds in which the aggregator learns the sum of the updates and nothing else."""

from aggregator.secure.pending import Pending
from aggregator.secure.round import run_secure_round

__all__ = ["Pending", "run_secure_round"]
