"""An AUROC with its interval: the `Estimate` every figure of the report is made of.

Which small test sets are shown, and why, is in docs/decisions/0002-small-test-sets.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evaluation.intervals import logit_interval, score_interval
from protocol.errors import EvaluationError

Status = Literal["ok", "wide", "suppressed", "not_estimable"]
Why = Literal["too_few_images", "one_patient", "took_no_part", "no_score", "no_site"]

SHOWN_FROM = 10  # cases of each class: below, no AUROC is given
WIDE_BELOW = 100  # cases of each class: below, the interval is called wide
MISORDERED_FROM = 1.0  # cases of the smaller class on the wrong side, on balance: below, logit-DeLong is too short
_BANDS = ((1000, "1000+"), (100, "100-999"), (30, "30-99"), (10, "10-29"))
_DECIMALS = 6  # of every figure in report.json


@dataclass(frozen=True)
class Estimate:
    """A figure between 0 and 1 with its 95% interval.

    `n_band` bands the smaller of the two class counts it rests on; `binning_bound` is the most that binning can have
    moved `value` (None where rows were used). `value`, `lo`, `hi` are None where status is suppressed or not_estimable; `why`
    says what is missing then.
    """

    value: float | None
    lo: float | None
    hi: float | None
    method: str
    n_band: str
    binning_bound: float | None
    status: Status
    why: Why | None = None

    def to_json(self) -> dict[str, float | str | None]:
        """JSON object: `value`, `lo`, `hi` always (null if not estimable), `binning_bound` and `why` only where they apply."""
        numbers = {"value": self.value, "lo": self.lo, "hi": self.hi}
        fields: dict[str, float | str | None] = {
            name: None if number is None else round(number, _DECIMALS) for name, number in numbers.items()
        }
        fields |= {"method": self.method, "n_band": self.n_band}
        if self.binning_bound is not None:
            fields["binning_bound"] = round(self.binning_bound, _DECIMALS)
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
) -> Estimate:
    """The AUROC with its 95% interval and status; `basis` says what it was counted on (for example "rows").

    Logit-DeLong interval; where that is too short or collapses (AUROC at or very near 0 or 1, variance 0) Newcombe's
    score interval. Status: `ok` from 100 of each class, `wide` from 10, `not_estimable` (without figures) below. Raises
    EvaluationError out of range.
    """
    smaller = min(n_positive, n_negative)
    if smaller < 0:
        raise EvaluationError(f"a class cannot have {smaller} cases.")
    if (value is None) != (variance is None):
        raise EvaluationError("an AUROC and its variance come together or not at all.")
    if value is None or variance is None or smaller < SHOWN_FROM:
        why: Why = "too_few_images" if smaller < SHOWN_FROM else "one_patient"
        return Estimate(None, None, None, basis, n_band(smaller), None, "not_estimable", why)
    if not (0.0 <= value <= 1.0 and 0.0 <= variance < np.inf):
        raise EvaluationError(f"AUROC {value} with variance {variance} is not possible.")
    if near_the_edge(value, variance, smaller):
        (lo, hi), interval = score_interval(value, n_positive, n_negative), "Newcombe score"
    else:
        (lo, hi), interval = logit_interval(value, variance), "logit-DeLong"
    status: Status = "ok" if smaller >= WIDE_BELOW else "wide"
    return Estimate(value, lo, hi, f"{basis}, {interval}", n_band(smaller), binning_bound, status)


def near_the_edge(value: float, variance: float, smaller_class: int) -> bool:
    """Whether an AUROC is so near 0 or 1, or so much without spread, that its variance would promise too short an interval."""
    return variance == 0.0 or min(value, 1.0 - value) * smaller_class < MISORDERED_FROM


def n_band(smaller_class: int) -> str:
    """The band a class count falls in: <10, 10-29, 30-99, 100-999 or 1000+."""
    return next((name for start, name in _BANDS if smaller_class >= start), "<10")
