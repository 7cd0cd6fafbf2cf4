"""The privacy ledger of one cohort at one hospital: an append-only file of everything its patients have paid."""

from privacy.ledger.budget import Budget, refuse_if_over
from privacy.ledger.entry import Charge, Entry, Head
from privacy.ledger.file import Ledger
from privacy.ledger.spent import Spent, Study, spent_epsilon

__all__ = ["Budget", "Charge", "Entry", "Head", "Ledger", "Spent", "Study", "refuse_if_over", "spent_epsilon"]
