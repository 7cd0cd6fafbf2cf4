"""Cases at an operating point, and the shares made of them, with Wilson's interval.

Sources
    interval: Wilson, Journal of the American Statistical Association 1927;22:209-212, at the effective number of cases
    n / design (Kish, Survey Sampling 1965); noise by square and add (Zou & Donner, Statistics in Medicine 2008;27:1693).
"""

from __future__ import annotations

import math
from typing import Any

from evaluation.audit.estimates import lacking, shown
from evaluation.audit.figures import Cells
from evaluation.audit.ranking import Floats
from evaluation.intervals import Z95, widened
from evaluation.metrics import SHOWN_FROM, Noise, sure


def cells_at(
    threshold: float, positive: Floats, negative: Floats, mark: int, variance: float, may_show: tuple[bool, bool] = (True, True)
) -> Cells:
    """Cells at the threshold that lies on edge `mark`, of counts (bins,) each with noise of `variance`."""
    tp, fp = float(positive[mark + 1 :].sum()), float(negative[mark + 1 :].sum())
    fn, tn = float(positive[: mark + 1].sum()), float(negative[: mark + 1].sum())
    above, below = (len(positive) - mark - 1) * variance, (mark + 1) * variance
    return Cells(threshold, tp, fn, fp, tn, (above, below, above, below), *may_show)


def wilson(share: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Interval of a share of `n` > 0 cases; n may be an effective number."""
    centre, square = share + z * z / (2.0 * n), z * z / n
    half = z * math.sqrt(share * (1.0 - share) / n + square / (4.0 * n))
    return max(0.0, (centre - half) / (1.0 + square)), min(1.0, (centre + half) / (1.0 + square))


def share(yes: float, no: float, noise: tuple[float, float], design: float) -> dict[str, Any]:
    """yes / (yes + no) as an estimate's JSON; `noise` holds the variances of the noise on both."""
    n, known = yes + no, Noise(0.0, math.sqrt(sum(noise))) if any(noise) else None
    cases = sure(int(n), known)
    if cases < SHOWN_FROM:
        return lacking("too_few_images" if known is None else "too_much_noise", cases)
    value = min(max(yes / n, 0.0), 1.0)
    lo, hi = wilson(value, n / design)
    if known is None:
        return shown(value, lo, hi, "summed counts, Wilson", cases)
    extra = ((1.0 - value) ** 2 * noise[0] + value**2 * noise[1]) / n**2
    lo, hi = widened(value, lo, hi, extra)
    return shown(value, lo, hi, "summed noised counts, Wilson, widened for the noise", cases, dp_sd=math.sqrt(extra))
