"""report.json's `mitigation`: what the plan asked for against unequal service, and what it did, before and after.

Weights during training have no before in the job itself: what they changed shows only beside a job without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from evaluation.metrics import SHOWN_FROM
from evaluation.report.inputs import RunSummary
from evaluation.report.mitigation_calibration import figures
from evaluation.report.mitigation_thresholds import called_at
from evaluation.report.small_cells import rests_on_few

_KEYS = {
    "q_ffl": ("fairness_q", "fairness_loss_bound"),
    "worst_site": ("fairness_measure", "fairness_rate", "fairness_floor", "fairness_loss_bound"),
}
_DONE = {
    "q_ffl": "In every round a hospital's update weighed by its own loss under the model it was given, to the power q: whoever "
    "was served badly pulled harder.",
    "worst_site": "After each validation the hospitals where the model did worse weighed more in the rounds that followed.",
}
_NEEDS_ANOTHER_JOB = (
    "How many images a hospital has does not enter. What the weights changed shows only beside a job of the same plan with "
    "federation.weighting uniform (fedward audit compare)."
)
_DECIMALS = 3  # of a share
_RECALIBRATED = (
    "Each hospital fitted a map of its own on its validation patients and kept it. Within a hospital the order of two-class "
    "scores, and with it the AUROC, cannot change; levels can, and with them the pooled figures."
)
_THRESHOLDS = (
    "Each hospital chose a threshold on its validation patients and kept it. The sensitivity reached on test patients lies "
    "around the one that was wanted: the fewer the validation positives, the further."
)


def mitigation(summary: RunSummary, scored_names: Sequence[str]) -> list[dict[str, Any]]:
    """One entry for each thing asked for: `kind`, `settings`, `before`, `after`, `note`; empty where nothing was."""
    federation, evaluation = summary.plan.get("federation") or {}, summary.plan.get("evaluation") or {}
    entries: list[dict[str, Any]] = []
    if (kind := federation.get("weighting")) in _KEYS:
        settings = {key: federation[key] for key in _KEYS[kind]}
        hidden = _hidden(summary, kind)
        note = f"{_DONE[kind]} {_NEEDS_ANOTHER_JOB}"
        entries.append(_entry(kind, settings, None, None, note) | {"rounds": _weights(summary, shown=hidden is None)})
        entries[-1] |= {} if hidden is None else {"why": hidden}
    if (method := evaluation.get("recalibrate", "none")) != "none":
        before, after = (figures(summary, name, scored_names) for name in ("federated", "recalibrated"))
        entries.append(_entry("recalibrate", {"method": method}, before, after, _RECALIBRATED))
    if (threshold := evaluation.get("site_threshold")) is not None:
        smallest = (evaluation.get("audit") or {}).get("smallest_cell", 11)
        half, own = (called_at(summary, scored_names, own=own, smallest=smallest) for own in (False, True))
        entries.append(_entry("site_threshold", dict(threshold), half, own, _THRESHOLDS))
    return entries


def _entry(
    kind: str, settings: Mapping[str, Any], before: dict[str, Any] | None, after: dict[str, Any] | None, note: str
) -> dict[str, Any]:
    return {"kind": kind, "settings": dict(settings), "before": before, "after": after, "note": note}


def _hidden(summary: RunSummary, kind: str) -> Literal["masked", "small_cell"] | None:
    """Why no weight is shown. Those of worst_site can be turned back into validation figures, so they tell of a hospital whose
    figures rest on few what its curve does not show; and as they add up to one, nobody's are shown then.
    """
    if not any(one.weights for one in summary.rounds if one.rejected is None):
        return "masked"
    if kind != "worst_site" or summary.privacy["mechanism"] != "none":  # noised validations were paid for
        return None
    smallest = ((summary.plan.get("evaluation") or {}).get("audit") or {}).get("smallest_cell", SHOWN_FROM)
    validated = [scores for one in summary.rounds for scores in one.validation.values()]
    return "small_cell" if any(rests_on_few(scores, smallest) for scores in validated) else None


def _weights(summary: RunSummary, *, shown: bool) -> list[dict[str, Any]]:
    """Each hospital's share of the weight in every round that stands; null where it is not shown."""
    rows = []
    for one in sorted(summary.rounds, key=lambda one: (one.round, one.attempt)):
        if one.rejected is None and one.aggregated:
            whole = sum(one.weights.values()) if shown else 0.0
            weights = (
                {silo: round(one.weights[silo] / whole, _DECIMALS) for silo in sorted(one.weights)} if whole > 0.0 else None
            )
            rows.append({"round": one.round, "weights": weights})
    return rows
