"""Was it worth it? One model against another at one site, judged from their two intervals alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evaluation.intervals import difference_interval
from evaluation.metrics import Estimate

Verdict = Literal["better", "worse", "no_clear_difference", "not_estimable"]


@dataclass(frozen=True)
class Comparison:
    """AUROC difference with its 95% interval, and what may be said of it."""

    value: float | None
    lo: float | None
    hi: float | None
    verdict: Verdict

    def to_json(self) -> dict[str, float | str | None]:
        """JSON object; value, lo and hi are null where the verdict is not_estimable."""
        numbers = {"value": self.value, "lo": self.lo, "hi": self.hi}
        rounded = {name: None if number is None else round(number, 6) for name, number in numbers.items()}
        return rounded | {"verdict": self.verdict}


def compare(model: Estimate, baseline: Estimate) -> Comparison:
    """`model` minus `baseline`: better or worse only if the 95% interval of the difference leaves out 0.

    Both are scored on the same patients, yet compared as if on different ones (`intervals.difference_interval`):
    a paired test needs the rows, which stay in the hospital. So better and worse are said too seldom, not too often.
    """
    first, second = _triple(model), _triple(baseline)
    if first is None or second is None:
        return Comparison(None, None, None, "not_estimable")
    value, lo, hi = difference_interval(first, second)
    verdict: Verdict = "better" if lo > 0.0 else "worse" if hi < 0.0 else "no_clear_difference"
    return Comparison(value, lo, hi, verdict)


def _triple(estimate: Estimate) -> tuple[float, float, float] | None:
    if estimate.value is None or estimate.lo is None or estimate.hi is None:
        return None
    return estimate.value, estimate.lo, estimate.hi
