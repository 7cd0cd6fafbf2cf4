"""How well one kind of model is calibrated, pooled and by hospital, from the histograms that left for its AUROC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation import histograms
from evaluation.audit.calibration import calibration, positions
from evaluation.audit.estimates import normal
from evaluation.federated import pooled, site_auroc
from evaluation.metrics import SHOWN_FROM
from evaluation.report.inputs import RunSummary, SiteSummary
from evaluation.summed import ExactSum
from protocol.messages import Scores

Floats = NDArray[np.float64]
Pair = tuple[Floats, Floats]
_METHOD = "512 bins of log-odds, logistic model, sandwich; every image taken as independent"


def figures(summary: RunSummary, kind: str, scored_names: Sequence[str]) -> dict[str, Any] | None:
    """AUROC, mean loss (nats an image) and calibration of `kind`; None if nobody scored it. No hospital's own under sums."""
    single = {site.id: scores for site in summary.sites if isinstance(scores := _of(site, kind), Scores)}
    summed = summary.sums.get(kind)
    if summed is not None and isinstance(summed.total, ExactSum):
        pairs = [_pair(one.positive, one.negative) for one in summed.total.classes]
        auroc = pooled([summed.total]).estimate().to_json()
        return {"auroc": auroc, "loss": None, "classes": _classes(pairs, scored_names), "sites": []}
    if not single:
        return None
    ordered = [single[silo] for silo in sorted(single)]
    n = sum(scores.n for scores in ordered)
    added = [_added(ordered, index) for index in range(len(scored_names))]
    return {
        "auroc": pooled(ordered).estimate().to_json(),
        "loss": round(sum(scores.n * scores.loss for scores in ordered) / max(1, n), 6),
        "classes": _classes(added, scored_names),
        "sites": [{"id": silo, **_site(single[silo], scored_names)} for silo in sorted(single)],
    }


def _of(site: SiteSummary, kind: str) -> object:
    return site.recalibrated if kind == "recalibrated" else site.federated


def _site(scores: Scores, scored_names: Sequence[str]) -> dict[str, Any]:
    pairs = [_pair(one.histogram_positive, one.histogram_negative) for one in scores.classes]
    enough = min(min(one.n_positive, one.n_negative) for one in scores.classes) >= SHOWN_FROM
    return {
        "auroc": site_auroc(scores).estimate().to_json(),
        "loss": round(scores.loss, 6) if enough else None,
        "classes": _classes(pairs, scored_names),
    }


def _added(ordered: Sequence[Scores], index: int) -> Pair:
    positive = np.sum([one.classes[index].histogram_positive for one in ordered], axis=0)
    negative = np.sum([one.classes[index].histogram_negative for one in ordered], axis=0)
    return _pair(positive, negative)


def _pair(positive: Sequence[int], negative: Sequence[int]) -> Pair:
    return np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)


def _classes(pairs: Sequence[Pair], scored_names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"name": name, "calibration": _calibration(*pair)} for name, pair in zip(scored_names, pairs, strict=True)]


def _calibration(positive: Floats, negative: Floats) -> dict[str, Any]:
    cases = int(min(positive.sum(), negative.sum()))
    at = positions(histograms.EDGES, positive, negative, 0.0)
    found = calibration(positive, negative, at, (1.0, 1.0), 0.0)
    return {
        "intercept": normal(found.intercept, _METHOD, cases),
        "slope": normal(found.slope, _METHOD, cases),
        "observed_expected": normal(found.observed_expected, _METHOD, cases, log=True),
    }
