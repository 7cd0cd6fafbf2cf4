"""Whether the outcome of a round stands: pure functions of what is durable, so that a resumed job decides the same.

Two checks that need the aggregate only (docs/robustness.md). The norm of the mean update is judged before a round is committed,
and a rejected round is committed with the model and the state before it. A validation is judged after it is journaled, and its
verdict is a record of its own: rounds it rejects keep their files, and the model after them is that of the round gone back to.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from aggregator.records import RoundRecord, ScoresRecord, VerdictRecord
from evaluation.federated import pooled
from protocol.errors import PoisonedError
from protocol.plan import Plan
from protocol.plan.aggregation import Guard

_NORMS = 3  # accepted rounds before one has a usual length to be compared with

Verdicts = Sequence[VerdictRecord]


def refused_norm(guard: Guard, norm: float, records: Sequence[RoundRecord]) -> str | None:
    """Why a mean update of L2 norm `norm` is too long after `records`; None if it is not, or nothing can be said yet."""
    accepted = [record.update_norm for record in records if record.rejected is None]
    if guard.max_norm_ratio is None or len(accepted) < _NORMS:
        return None
    usual = statistics.median(accepted)
    if norm <= guard.max_norm_ratio * usual:
        return None
    return (
        f"the mean update is {norm:.4g} long, the median of {len(accepted)} accepted rounds is {usual:.4g}: more than "
        f"{guard.max_norm_ratio:g} times"
    )


def judge(guard: Guard, scores: ScoresRecord, good: ScoresRecord | None) -> VerdictRecord:
    """What a validation means, compared with the last `good` one over the silos that answered both.

    Sums (evaluation.scores) are compared as they are: who is in them cannot be chosen afterwards. A first one is good. One that
    allows no figure - too few cases, or all noise - is not judged. A model that most silos cannot score any more, because it
    answers NaN say, is rejected.
    """
    if guard.max_validation_drop is None or good is None:
        return VerdictRecord(scores.round, _auroc(scores, _answered(scores)))
    both = _answered(good) & _answered(scores, good)
    if 2 * len(both) < len(_answered(good)):
        n = len(_answered(good))
        reason = f"{len(both)} of the {n} silos that scored round {good.round} could score round {scores.round}"
        return VerdictRecord(scores.round, None, reason, good.round)
    before, now = _auroc(good, both), _auroc(scores, both)
    if before is None or now is None:
        return VerdictRecord(scores.round)
    if before - now <= guard.max_validation_drop:
        return VerdictRecord(scores.round, now)
    reason = (
        f"validation AUROC fell from {before:.4f} in round {good.round} to {now:.4f} in round {scores.round}, by more than "
        f"{guard.max_validation_drop:g}"
    )
    return VerdictRecord(scores.round, now, reason, good.round)


def _answered(record: ScoresRecord, before: ScoresRecord | None = None) -> set[str]:
    """Who could score the model. A sum that did not come about names those who failed: of the silos `before`, the others."""
    if record.unsummed is not None and before is not None:
        return set(before.survivors) - record.failures.keys()
    return set(record.survivors) or set(record.scores)


def _auroc(record: ScoresRecord, silos: set[str]) -> float | None:
    """Pooled over `silos`, or that of the sum; None where it could not be shown either."""
    if record.summed is not None:
        return pooled([record.summed]).estimate().value
    sites = [record.scores[silo] for silo in sorted(silos)] if record.scores else []
    return pooled(sites).estimate().value if sites else None


def last_good(verdicts: Verdicts) -> int | None:
    """The last round whose validation was judged and stands."""
    return next((one.round for one in reversed(verdicts) if one.rejected is None and one.auroc is not None), None)


def source(number: int, verdicts: Verdicts) -> int:
    """The round whose file holds the global model after round `number`: itself, or the one that was gone back to."""
    for verdict in verdicts:
        if verdict.back_to is not None and verdict.back_to < number <= verdict.round:
            return verdict.back_to
    return number


def standing(records: Sequence[RoundRecord], verdicts: Verdicts) -> tuple[RoundRecord, ...]:
    """The records as they read after all verdicts: of a rejected round nobody's update is in the model.

    A later verdict may go back over rounds that one before it rejected; the first reason stands.
    """
    reasons = {
        number: verdict.rejected
        for verdict in reversed(verdicts)
        if verdict.rejected is not None and verdict.back_to is not None
        for number in range(verdict.back_to + 1, verdict.round + 1)
    }
    return tuple(
        msgspec.structs.replace(record, aggregated=(), rejected=reasons[record.round])
        if record.rejected is None and record.round in reasons
        else record
        for record in records
    )


def keep_files(plan: Plan, number: int, verdicts: Verdicts) -> int:
    """How many of the newest model files, up to that of round `number`, the final model or a way back may still need."""
    first = max(1, number - plan.federation.average_last + 1)
    oldest = min(source(first, verdicts), last_good(verdicts) or number)
    return number - oldest + 1


def bear(guard: Guard, records: Sequence[RoundRecord], verdicts: Verdicts) -> None:
    """Raise PoisonedError if more decisions in a row than the plan bears were rejections.

    One validation that rejects several rounds is one decision.
    """
    reasons: list[str] = []
    judged = {verdict.round: verdict.rejected for verdict in verdicts}
    for record, after in zip(reversed(records), reversed(standing(records, verdicts)), strict=True):
        if after.rejected is None:
            break
        if (reason := record.rejected or judged.get(record.round)) is not None:
            reasons.append(f"  round {record.round}: {reason}")
    if len(reasons) > guard.max_rejected:
        lines = "\n".join(reversed(reasons))
        raise PoisonedError(
            f"{len(reasons)} rejections in a row, federation.guard.max_rejected is {guard.max_rejected}. The last good model "
            "is kept. Find the hospital whose data or node changed; a job without it, or with another plan, needs a new --out: "
            f"resuming this one ends here again.\n{lines}"
        )
