"""What a private job has cost a patient by now; the auditor computes it too, so it lies a floor below."""

from privacy.spent import Spent

__all__ = ["Spent"]
