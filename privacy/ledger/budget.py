"""The hospital's limits, and the refusal of what would pass them.

One study has fixed parameters, so its epsilon is that of ordinary composition, by privacy loss distributions. Later studies are
chosen by people who have seen the results of earlier ones; over all studies together a Renyi filter decides (Feldman, Zrnic
2021, theorem 4.5): for ONE order, fixed beforehand, the divergences of everything charged may never sum to more than the
divergence from which the total epsilon follows. Taking the best order after the fact would not be covered by that theorem, so
the order depends on the limit and its delta alone: it is the order at which a Gaussian mechanism (divergence proportional to
the order) gets the most out of the whole budget. Other mechanisms fill the budget a little earlier; none fills it late.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from privacy.accounting import COARSE, FINE, ORDERS, epsilon, epsilon_to_renyi, renyi
from privacy.event_json import Event
from protocol.errors import BudgetError

if TYPE_CHECKING:
    from privacy.ledger.entry import Entry
    from privacy.ledger.file import Ledger

Events = Mapping[str, Sequence[Event]]
"""Part to events."""


@dataclass(frozen=True)
class Budget:
    """What a hospital lets its patients pay. A study is one job: running a plan a second time is a second study."""

    max_epsilon_per_study: float
    max_epsilon_total: float
    delta: float
    """At which both limits are held, whatever the plan's own delta is."""

    @property
    def order(self) -> int:
        """The order of the filter."""
        return _order(self.max_epsilon_total, self.delta)

    @property
    def allowed(self) -> float:
        """The divergence of that order that all studies together may reach; 0 if the limit is too small for any study."""
        return max(0.0, epsilon_to_renyi(self.max_epsilon_total, self.order, self.delta))

    def share(self, studies: Iterable[Events]) -> float:
        """Which part of the total these studies take: 1 is everything. A patient stands in one part of each study."""
        total = math.fsum(max(renyi(events, self.order) for events in study.values()) for study in studies if study)
        if total == 0.0:
            return 0.0
        return total / self.allowed if self.allowed else math.inf

    def epsilon_left(self, share: float) -> float:
        """Epsilon of the largest single Gaussian release for which `share` of the total leaves room."""
        from privacy.events import training_event

        divergence = self.allowed * (1.0 - share)
        if divergence <= 1e-9:
            return 0.0
        return epsilon([training_event(math.sqrt(self.order / (2.0 * divergence)), 1.0, 1)], self.delta)


def by_job(entries: Iterable[Entry]) -> dict[str, dict[str, list[Event]]]:
    """Job to part to the events charged, in the order of the ledger."""
    jobs: dict[str, dict[str, list[Event]]] = {}
    for entry in entries:
        jobs.setdefault(entry.job, {}).setdefault(entry.part, []).append(entry.event)
    return jobs


def refuse_if_over(ledger: Ledger, budget: Budget, job: str, coming: Events) -> None:
    """Raises BudgetError if `coming`, on top of everything charged, would pass the budget.

    Before a study `coming` is everything its plan declares; before a release it is that release.
    """
    jobs = by_job(ledger.entries)
    study = {part: list(events) for part, events in jobs.get(job, {}).items()}
    for part, events in coming.items():
        study.setdefault(part, []).extend(events)
    for part in coming:
        _refuse_study(budget, job, part, study[part])
    before = budget.share(jobs.values())
    after = budget.share((jobs | {job: study}).values())
    if after > 1.0:
        room = budget.epsilon_left(before) if before < 1.0 else 0.0
        raise BudgetError(
            f"job {job} would take the cohort to {after:.0%} of the most that all studies may cost a patient (epsilon "
            f"{budget.max_epsilon_total:g} at delta {budget.delta:g}); {before:.1%} is spent, which leaves room for one study "
            f"of about epsilon {room:.2g}. Plan a study with more noise or fewer rounds, or have the data officer raise "
            "max_epsilon_total in the hospital's policy file. What was spent does not come back."
        )


def _refuse_study(budget: Budget, job: str, part: str, events: Sequence[Event]) -> None:
    limit = budget.max_epsilon_per_study
    if epsilon(events, budget.delta, COARSE) <= limit:  # an upper bound already, and quick
        return
    cost = epsilon(events, budget.delta, FINE)
    if cost > limit:
        raise BudgetError(
            f"job {job} would cost a {part} patient epsilon {cost:.4g} at delta {budget.delta:g}; this hospital's "
            f"max_epsilon_per_study is {limit:g}. Plan more noise (a lower privacy.epsilon), fewer rounds or fewer releases of "
            "scores, or have the data officer raise the limit in the policy file."
        )


@lru_cache(maxsize=64)
def _order(total: float, delta: float) -> int:
    best: int = max(ORDERS, key=lambda order: epsilon_to_renyi(total, order, delta) / order)
    return best
