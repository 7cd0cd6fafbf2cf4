"""Figures of the audit as report.json has them: the JSON of evaluation.metrics.Estimate, for values of any range."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from evaluation.audit.ranking import Ranked
from evaluation.intervals import Z95, logit_interval, score_interval, widened
from evaluation.measured import Measured
from evaluation.metrics import SHOWN_FROM, WIDE_BELOW, n_band, near_the_edge

NOT_SHOWN = "not shown"  # the band of a number that may not be told
_DECIMALS = 6


def shown(
    value: float, lo: float, hi: float, method: str, cases: int, *, bound: float | None = None, dp_sd: float | None = None
) -> dict[str, Any]:
    """A figure that rests on `cases` of its smaller class."""
    numbers = {"value": value, "lo": lo, "hi": hi}
    fields: dict[str, Any] = {name: rounded(one) for name, one in numbers.items()} | {"method": method, "n_band": n_band(cases)}
    fields |= {} if bound is None else {"binning_bound": rounded(bound)}
    fields |= {} if dp_sd is None else {"dp_sd": rounded(dp_sd)}
    return fields | {"status": "ok" if cases >= WIDE_BELOW else "wide"}


def lacking(why: str, cases: int) -> dict[str, Any]:
    """No figure, because `why`."""
    return _empty("not_estimable", why, n_band(cases))


def suppressed(why: str) -> dict[str, Any]:
    """No figure, for the patients' sake."""
    return _empty("suppressed", why, NOT_SHOWN)


def _empty(status: str, why: str, band: str) -> dict[str, Any]:
    return {"value": None, "lo": None, "hi": None, "method": "none", "n_band": band, "status": status, "why": why}


def rounded(number: float) -> float:
    """Six decimals, and no minus before a zero."""
    return round(number, _DECIMALS) + 0.0


def auroc(measured: Measured, design: tuple[float, float]) -> dict[str, Any]:
    """An AUROC; near 0 and 1, where its interval is made from numbers of cases, from the effective ones."""
    estimate = measured.estimate().to_json()
    value, variance = measured.value, measured.variance
    plain = value is not None and variance is not None and measured.noise is None and measured.estimable and max(design) > 1.0
    if plain and near_the_edge(value or 0.0, variance or 0.0, measured.smaller):
        effective = (max(1, int(n / one)) for n, one in zip((measured.n_positive, measured.n_negative), design, strict=True))
        lo, hi = score_interval(value or 0.0, *effective)
        estimate |= {"lo": rounded(lo), "hi": rounded(hi)}
    return estimate


def average_precision(
    found: Ranked | None, cases: int, effective: float, wilson: Callable[[float, float], tuple[float, float]]
) -> dict[str, Any]:
    """An average precision, on log-odds; where it is 0 or 1 as a share of the `effective` number of positives."""
    if found is None:
        return lacking("too_much_noise", cases)
    value = min(max(found.value, 0.0), 1.0)
    if 0.0 < value < 1.0 and found.sampling > 0.0:
        (lo, hi), method = logit_interval(value, found.sampling), "summed counts, logit, delta method"
    else:
        (lo, hi), method = wilson(value, max(effective, 1.0)), "summed counts, Wilson"
    if found.noise == 0.0:
        return shown(value, lo, hi, method, cases, bound=found.bound)
    lo, hi = widened(value, lo, hi, found.noise)
    return shown(value, lo, hi, f"{method}, widened for the noise", cases, bound=found.bound, dp_sd=math.sqrt(found.noise))


def normal(point: tuple[float, float] | None, method: str, cases: int, *, log: bool = False) -> dict[str, Any]:
    """A value with its variance: plus and minus 1.96 standard errors, of its logarithm if `log`."""
    if cases < SHOWN_FROM or point is None:
        return lacking("too_few_images" if cases < SHOWN_FROM else "no_solution", cases)
    value, error = point[0], math.sqrt(point[1])
    if log:
        factor = math.exp(min(Z95 * error / value, 50.0))
        return shown(value, value / factor, value * factor, method, cases)
    return shown(value, value - Z95 * error, value + Z95 * error, method, cases)
