"""What a private job has cost a patient by now, by its plan: an upper bound on epsilon after each round."""

from __future__ import annotations

from collections.abc import Iterable

from protocol.plan import Plan
from protocol.plan.privacy import PatientPrivacy

_MOST_POINTS = 10  # rounds for which a report's curve is computed


class Spent:
    """Epsilon of one plan by rounds. Everything follows from the plan, so nothing here depends on a patient."""

    def __init__(self, plan: Plan) -> None:
        from privacy.guarantee import guarantee_of

        self.guarantee = guarantee_of(plan)
        self._plan = plan

    def after(self, rounds: int) -> float | None:
        """Epsilon at the plan's delta of the patient who paid most, once `rounds` rounds are done; None: nothing limits it."""
        from privacy.accounting import COARSE, epsilon
        from privacy.events import metric_event, training_event

        privacy, every = self._plan.privacy, self._plan.evaluation.every
        if not isinstance(privacy, PatientPrivacy):
            return None
        if rounds >= self._plan.federation.rounds:
            return self.guarantee.epsilon
        steps, silos = rounds * self.guarantee.steps_per_round, privacy.max_silos_per_patient
        train = training_event(self.guarantee.noise_multiplier, privacy.rate, steps, silos) if steps else None
        scored = rounds // every if "validation" in self.guarantee.events else 0
        validation = metric_event(privacy.metrics_epsilon, scored, silos) if scored else None
        costs = [epsilon([event], privacy.delta, COARSE) for event in (train, validation) if event is not None]
        return min(max(costs, default=0.0), self.guarantee.epsilon)  # the coarse grid rounds up

    def by_round(self, rounds: Iterable[int]) -> dict[int, float]:
        """Epsilon after some of `rounds`, first and last among them: enough to draw a curve, few enough to be quick."""
        wanted = sorted(set(rounds))
        if len(wanted) > _MOST_POINTS:
            last = len(wanted) - 1
            wanted = [wanted[round(index * last / (_MOST_POINTS - 1))] for index in range(_MOST_POINTS)]
        found = {number: self.after(number) for number in wanted}
        return {number: value for number, value in found.items() if value is not None}
