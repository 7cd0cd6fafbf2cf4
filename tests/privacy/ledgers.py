"""Ledgers for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from privacy.events import metric_event, training_event
from privacy.ledger import Budget, Charge, Ledger

PLAN = "sha256:" + "0" * 64
ROUND = training_event(2.0, 0.1, 10)
SCORES = metric_event(0.3)


def new(folder: Path, cohort: str = "cohort", name: str = "store.ledger.jsonl") -> Ledger:
    return Ledger.create(folder / name, cohort)


def charge(ledger: Ledger, number: int = 1, *, job: str = "job-1", budget: Budget | None = None, **changes: Any) -> Charge:
    """Charge for a round."""
    values: dict[str, Any] = {"part": "train", "event": ROUND, "release": f"round/{number}"} | changes
    return ledger.charge(study="study", plan=PLAN, job=job, delta=1e-6, budget=budget, **values)
