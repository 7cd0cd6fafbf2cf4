"""An AUROC with its interval: the `Estimate` every figure of the report is made of.

Which small test sets are shown, and why, is in docs/decisions/0002-small-test-sets.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evaluation.intervals import logit_interval, score_interval, widened
from protocol.errors import EvaluationError

Status = Literal["ok", "wide", "suppressed", "not_estimable"]
Why = Literal["too_few_images", "one_patient", "too_much_noise", "took_no_part", "no_score", "no_site", "only_sums"]

SHOWN_FROM = 10  # cases of each class: below, no AUROC is given
WIDE_BELOW = 100  # cases of each class: below, the interval is called wide
MISORDERED_FROM = 1.0  # cases of the smaller class on the wrong side, on balance: below, logit-DeLong is too short
_BANDS = ((1000, "1000+"), (100, "100-999"), (30, "30-99"), (10, "10-29"))
_DECIMALS = 6  # of every figure in report.json
_SURE = 2.0  # standard deviations of the noise: so many below its estimate, a count is taken to be
_KNOWN = 4.0  # standard deviations of the noise: a count that is not so many above 0 is not known at all


@dataclass(frozen=True)
class Noise:
    """What noise on counts does: the `variance` it alone gives the figure, and its standard deviation on a class's count."""

    variance: float
    count_sd: float


@dataclass(frozen=True)
class Estimate:
    """A figure between 0 and 1 with its 95% interval.

    `n_band` bands the smaller of the two class counts it rests on; `binning_bound` is the most that binning can have
    moved `value` (None where rows were used), `dp_sd` the standard deviation that noise gives it (None without). `value`,
    `lo`, `hi` are None where status is suppressed or not_estimable; `why` says what is missing then.
    """

    value: float | None
    lo: float | None
    hi: float | None
    method: str
    n_band: str
    binning_bound: float | None
    status: Status
    why: Why | None = None
    dp_sd: float | None = None

    def to_json(self) -> dict[str, float | str | None]:
        """JSON object: `value`, `lo`, `hi` always (null if not estimable); the others only where they apply."""
        numbers = {"value": self.value, "lo": self.lo, "hi": self.hi}
        fields: dict[str, float | str | None] = {
            name: None if number is None else round(number, _DECIMALS) for name, number in numbers.items()
        }
        fields |= {"method": self.method, "n_band": self.n_band}
        for name, one in (("binning_bound", self.binning_bound), ("dp_sd", self.dp_sd)):
            if one is not None:
                fields[name] = round(one, _DECIMALS)
        fields["status"] = self.status
        return fields if self.why is None else fields | {"why": self.why}


def auroc_estimate(
    value: float | None,
    variance: float | None,
    n_positive: int,
    n_negative: int,
    *,
    basis: str = "rows",
    binning_bound: float | None = None,
    noise: Noise | None = None,
) -> Estimate:
    """The AUROC with its 95% interval and status; `basis` says what it was counted on (for example "rows").

    Logit-DeLong interval; where that is too short or collapses (AUROC at or very near 0 or 1, variance 0) Newcombe's
    score interval. Status: `ok` from 100 of each class, `wide` from 10, `not_estimable` (without figures) below. With
    `noise` the counts are estimates, so the limits ask for more (`sure`), `variance` holds the noise's part, which widens the
    interval, and a value that noise carried out of range is set to its end. Raises EvaluationError out of range.
    """
    smaller = min(sure(n_positive, noise), sure(n_negative, noise))
    if smaller < 0:
        raise EvaluationError(f"a class cannot have {smaller} cases.")
    if (value is None) != (variance is None):
        raise EvaluationError("an AUROC and its variance come together or not at all.")
    if value is None or variance is None or smaller < SHOWN_FROM:
        few: Why = "too_few_images" if noise is None else "too_much_noise"
        why: Why = few if smaller < SHOWN_FROM else "one_patient"
        return Estimate(None, None, None, basis, n_band(smaller), None, "not_estimable", why)
    if noise is not None:
        value, variance = min(max(value, 0.0), 1.0), max(0.0, variance - noise.variance)
    if not (0.0 <= value <= 1.0 and 0.0 <= variance < np.inf):
        raise EvaluationError(f"AUROC {value} with variance {variance} is not possible.")
    if near_the_edge(value, variance, smaller):
        (lo, hi), method = score_interval(value, n_positive, n_negative), f"{basis}, Newcombe score"
    else:
        (lo, hi), method = logit_interval(value, variance), f"{basis}, logit-DeLong"
    status: Status = "ok" if smaller >= WIDE_BELOW else "wide"
    dp_sd = None
    if noise is not None:
        lo, hi = widened(value, lo, hi, noise.variance)
        method, dp_sd = f"{method}, widened for the noise", noise.variance**0.5
    return Estimate(value, lo, hi, method, n_band(smaller), binning_bound, status, dp_sd=dp_sd)


def sure(count: int, noise: Noise | None) -> int:
    """How many cases there are at least: `count` itself without noise, else two standard deviations of the noise below it.

    An AUROC is a quotient by both counts. Where a count is not four standard deviations above 0 it is not to be trusted,
    whatever its interval says, and the answer is 0.
    """
    if noise is None:
        return count
    return 0 if count < _KNOWN * noise.count_sd else int(count - _SURE * noise.count_sd)


def near_the_edge(value: float, variance: float, smaller_class: int) -> bool:
    """Whether an AUROC is so near 0 or 1, or so much without spread, that its variance would promise too short an interval."""
    return variance == 0.0 or min(value, 1.0 - value) * smaller_class < MISORDERED_FROM


def n_band(smaller_class: int) -> str:
    """The band a class count falls in: <10, 10-29, 30-99, 100-999 or 1000+."""
    return next((name for start, name in _BANDS if smaller_class >= start), "<10")
