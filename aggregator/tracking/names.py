"""Metric names: what the parent run and each silo's run show, and at which step (the round)."""

from __future__ import annotations

from collections.abc import Mapping

from aggregator.records import RoundRecord, ScoresRecord
from evaluation.federated import pooled, site_auroc
from evaluation.measure import class_aurocs
from evaluation.measured import Measured
from evaluation.report.small_cells import rests_on_few
from evaluation.summed import ExactSum
from privacy.spent import Spent
from protocol.messages import Scores

Metrics = dict[str, float]

_SPLITS = {"validation": "val", "test": "test"}


def of_round(record: RoundRecord, *, weights: bool = True) -> tuple[Metrics, dict[str, Metrics]]:
    """A committed round: metrics of the parent run, and of each silo's run. Under a private plan silos say nothing of it.

    Without `weights` nothing is said of them: they are shares of the training images.
    """
    said: dict[str, Mapping[str, float]] = {
        "train/loss": record.losses,
        "train/proximal": record.proximals,
        "train/steps": record.steps,
        "train/seconds": record.silo_seconds,
        "train/work": record.work,
    }
    whole = sum(record.weights.values()) or 1.0
    shares = {silo: weight / whole for silo, weight in record.weights.items()} if weights else {}  # masked ones are unknown
    silos = {
        silo: {name: float(values[silo]) for name, values in said.items() if silo in values}
        | ({"federation/weight": shares[silo]} if silo in shares else {})
        | ({"federation/upload_mb": record.upload_bytes[silo] / 1e6} if silo in record.upload_bytes else {})
        for silo in record.aggregated
    }
    parent: Metrics = {
        "federation/silos_aggregated": float(len(record.aggregated)),
        "federation/silos_failed": float(len(record.failures)),
        "federation/round_seconds": record.seconds,
        "global/update_norm": record.update_norm,
    }
    if record.rejected is not None:  # a point for each rejected round, and no curve of zeros for jobs that have no guard
        parent["guard/rejected"] = 1.0
    parent |= {f"site/{silo}/train/loss": loss for silo, loss in record.losses.items() if silo in silos}
    if record.upload_bytes:
        parent["federation/upload_mb"] = sum(record.upload_bytes.values()) / 1e6
    parent |= {f"site/{silo}/upload_mb": size / 1e6 for silo, size in record.upload_bytes.items()}
    return parent, silos


def of_spent(spent: Spent, rounds: int) -> Metrics:
    """What the job has cost the patient who paid most after `rounds` rounds, under both its names; nothing without a limit."""
    epsilon = spent.after(rounds)
    return {} if epsilon is None else {"privacy/epsilon": epsilon, "privacy/epsilon_max": epsilon}


def of_guarantee(spent: Spent) -> dict[str, str]:
    """The promise as MLflow parameters, beside the plan's own `privacy/...`."""
    promise = spent.guarantee
    if promise.mechanism == "none":
        return {"guarantee/epsilon": "infinite"}
    names = ("epsilon", "delta", "noise_multiplier", "sampling_rate", "steps", "clip_norm")
    return {f"guarantee/{name}": f"{getattr(promise, name):.6g}" for name in names} | {"guarantee/unit": promise.unit}


def of_scores(record: ScoresRecord, smallest: int = 0) -> tuple[Metrics, dict[str, Metrics]]:
    """One scoring. `val/auroc` stands in the parent run too, so that comparing the runs overlays all silos and the whole.

    Where only a sum is known, silos' runs get nothing. With `smallest`, an audit's smallest cell, they get no count, and no
    figure that rests on 1 to smallest - 1 images of a class.
    """
    split = _SPLITS[record.split]
    suffix = "" if record.kind == "federated" else f"_{record.kind}"
    silos: dict[str, Metrics] = {}
    for silo, scores in record.scores.items():
        loss = {f"{split}/loss{suffix}": scores.loss} if isinstance(scores, Scores) else {}
        if smallest and rests_on_few(scores, smallest):
            continue
        rarest = min(min(one.n_positive, one.n_negative) for one in class_aurocs(scores))
        # Beside the AUROC, so that nobody takes a curve over a handful of images for more than it is.
        count = {} if smallest else {f"{split}/rarest_class": float(rarest)}
        silos[silo] = loss | count | _auroc(f"{split}/auroc{suffix}", site_auroc(scores))
    parent = {f"site/{silo}/{name}": value for silo, metrics in silos.items() for name, value in metrics.items()}
    if record.summed is not None:
        whole = pooled([record.summed])
        if isinstance(record.summed, ExactSum) and record.summed.n:
            parent[f"global/{split}/accuracy{suffix}"] = record.summed.n_right / record.summed.n
        parent |= _auroc(f"global/{split}/auroc{suffix}", whole) | _auroc(f"{split}/auroc{suffix}", whole)
    elif record.scores and record.kind == "federated":
        whole = pooled(list(record.scores.values()))
        parent |= _auroc(f"global/{split}/auroc", whole) | _auroc(f"{split}/auroc", whole)
    return parent, silos


def _auroc(name: str, measured: Measured) -> Metrics:
    """The value; from noised counts only where it can be told from the noise, and with half its 95% interval."""
    if measured.noise is None:
        return {} if measured.value is None else {name: measured.value}
    shown = measured.estimate()
    if shown.value is None or shown.lo is None or shown.hi is None:
        return {}
    return {name: shown.value, f"{name}_half_width": (shown.hi - shown.lo) / 2.0}


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
