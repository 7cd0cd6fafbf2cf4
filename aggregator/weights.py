"""worst_site: what each hospital's update weighs in the next round, from the validations that are in the journal.

A pure function of what is durable: a resumed job weighs as it would have without the stop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aggregator.records import ScoresRecord, VerdictRecord
from evaluation.federated import site_auroc
from evaluation.measure import AnyScores
from protocol.messages import Scores
from protocol.plan import Plan
from protocol.plan.fairness import ascend, shares
from protocol.plan.federation import Federation


def weights_after(
    plan: Plan, silos: Sequence[str], scores: Sequence[ScoresRecord], verdicts: Sequence[VerdictRecord]
) -> dict[str, float]:
    """Each hospital's weight after all validations so far, summing to 1; equal before the first.

    A validation that the guard rejected is of a model that was taken back, and moves nothing.
    """
    rejected = {verdict.round for verdict in verdicts if verdict.rejected is not None}
    weights = {silo: 1.0 / len(silos) for silo in sorted(silos)}
    for record in sorted(scores, key=lambda one: one.round):
        if record.split == "validation" and record.kind == "federated" and record.round not in rejected:
            found = {silo: _badness(plan.federation, one) for silo, one in record.scores.items()}
            weights = ascend(plan.federation, weights, found)
    return weights


def shares_for(
    plan: Plan, silos: Sequence[str], scores: Sequence[ScoresRecord], verdicts: Sequence[VerdictRecord]
) -> Mapping[str, float] | None:
    """Each weight over the largest, as both sides calculate with it; None if the plan's weights do not follow validations."""
    if plan.federation.weighting != "worst_site":
        return None
    return shares(weights_after(plan, silos, scores, verdicts))


def _badness(federation: Federation, scores: AnyScores) -> float | None:
    """1 - AUROC, or the loss up to its bound; None where a hospital's scores give none.

    Of noised scores only an AUROC that could be shown counts; of exact ones any, however few its cases.
    """
    if federation.fairness_measure == "loss":
        return min(max(scores.loss, 0.0), federation.fairness_loss_bound) if isinstance(scores, Scores) else None
    measured = site_auroc(scores)
    if measured.value is None or (measured.noise is not None and not measured.estimable):
        return None
    return 1.0 - min(max(measured.value, 0.0), 1.0)
