"""Metric names: what the parent run and each silo's run show, and at which step (the round)."""

from __future__ import annotations

from collections.abc import Mapping

from aggregator.records import RoundRecord, ScoresRecord
from evaluation.federated import pooled, site_auroc

Metrics = dict[str, float]

_SPLITS = {"validation": "val", "test": "test"}


def of_round(record: RoundRecord) -> tuple[Metrics, dict[str, Metrics]]:
    """A committed round: metrics of the parent run, and of each silo's run."""
    silos = {
        silo: {
            "train/loss": record.losses[silo],
            "train/proximal": record.proximals[silo],
            "train/steps": float(record.steps[silo]),
            "train/seconds": record.silo_seconds[silo],
            "federation/weight": record.weights[silo] / (sum(record.weights.values()) or 1.0),
        }
        for silo in record.aggregated
    }
    parent: Metrics = {
        "federation/silos_aggregated": float(len(record.aggregated)),
        "federation/silos_failed": float(len(record.failures)),
        "federation/round_seconds": record.seconds,
        "global/update_norm": record.update_norm,
    }
    parent |= {f"site/{silo}/train/loss": metrics["train/loss"] for silo, metrics in silos.items()}
    return parent, silos


def of_scores(record: ScoresRecord) -> tuple[Metrics, dict[str, Metrics]]:
    """One scoring. `val/auroc` stands in the parent run too, so that comparing the runs overlays all silos and the whole."""
    split = _SPLITS[record.split]
    suffix = "" if record.kind == "federated" else f"_{record.kind}"
    silos: dict[str, Metrics] = {}
    for silo, scores in record.scores.items():
        silos[silo] = {
            f"{split}/loss{suffix}": scores.loss,
            # Beside the AUROC, so that nobody takes a curve over a handful of images for more than it is.
            f"{split}/rarest_class": float(min(min(c.n_positive, c.n_negative) for c in scores.classes)),
        } | _auroc(f"{split}/auroc{suffix}", site_auroc(scores).value)
    parent = {f"site/{silo}/{name}": value for silo, metrics in silos.items() for name, value in metrics.items()}
    if record.scores and record.kind == "federated":
        whole = pooled(list(record.scores.values())).value
        parent |= _auroc(f"global/{split}/auroc", whole) | _auroc(f"{split}/auroc", whole)
    return parent, silos


def _auroc(name: str, value: float | None) -> Metrics:
    return {} if value is None else {name: value}


def flatten(plan: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """The plan as MLflow parameters: `training/mu` = `0.01`; lists and networks' arguments as text."""
    flat: dict[str, str] = {}
    for key, value in plan.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and key != "args":
            flat |= flatten(value, f"{name}/")
        elif value not in (None, "", [], {}):
            flat[name] = str(value)[:6000]
    return flat
