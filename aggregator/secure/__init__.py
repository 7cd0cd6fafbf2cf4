"""Rounds and scorings in which the aggregator learns the sum over the hospitals and nothing else."""

from aggregator.secure.pending import Pending
from aggregator.secure.round import run_secure_round
from aggregator.secure.scores import SummedScoring

__all__ = ["Pending", "SummedScoring", "run_secure_round"]
