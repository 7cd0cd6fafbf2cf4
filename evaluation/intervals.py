"""95% intervals for an AUROC and for the difference of two; scalars in, scalars out, nothing to configure but `z`.

Sources
    logit interval: Pepe, The Statistical Evaluation of Medical Tests for Classification and Prediction, Oxford 2003.
    score interval: Newcombe, Statistics in Medicine 2006;25:559-573, method 5.
    interval of a difference: Newcombe, Statistics in Medicine 1998;17:873-890; Zou & Donner, same, 2008;27:1693-1702.
    paired interval: DeLong, DeLong & Clarke-Pearson, Biometrics 1988;44:837-845.
"""

from __future__ import annotations

import math
from statistics import NormalDist

Z95 = NormalDist().inv_cdf(0.975)
_BISECTIONS = 60  # halvings of an interval of length one: far below float64 rounding


def logit(p: float) -> float:
    """log(p / (1 - p)) for 0 < p < 1."""
    return math.log(p) - math.log1p(-p)


def expit(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow."""
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else 1.0 - 1.0 / (1.0 + math.exp(x))


def logit_interval(auroc: float, variance: float, z: float = Z95) -> tuple[float, float]:
    """`auroc` plus and minus z standard errors on the log-odds scale, back on 0..1; needs 0 < auroc < 1."""
    centre, half = logit(auroc), z * math.sqrt(variance) / (auroc * (1.0 - auroc))
    return expit(centre - half), expit(centre + half)


def score_variance(auroc: float, n_positive: int, n_negative: int) -> float:
    """Variance an AUROC estimate would have if the true value were `auroc`.

    Hanley & McNeil's exponential model (Radiology 1982;143:29-36) with both class sizes replaced by their mean, as in
    Newcombe's method 5.
    """
    inner = (n_positive + n_negative) / 2.0 - 1.0
    shape = 1.0 + inner * ((1.0 - auroc) / (2.0 - auroc) + auroc / (1.0 + auroc))
    return auroc * (1.0 - auroc) * shape / (n_positive * n_negative)


def score_interval(auroc: float, n_positive: int, n_negative: int, z: float = Z95) -> tuple[float, float]:
    """Every true value that lies within z of its own standard errors from `auroc`; sane at exactly 0 and 1."""

    def excluded(candidate: float) -> bool:
        return (candidate - auroc) ** 2 > z * z * score_variance(candidate, n_positive, n_negative)

    def edge(outside: float) -> float:
        inside = auroc
        for _ in range(_BISECTIONS):
            middle = (outside + inside) / 2.0
            if excluded(middle):
                outside = middle
            else:
                inside = middle
        return inside

    return edge(0.0) if auroc > 0.0 else 0.0, edge(1.0) if auroc < 1.0 else 1.0


def difference_interval(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float, float]:
    """(difference, lo, hi) of first - second, each given as (value, lo, hi); "square and add".

    It treats the two as independent. For two models scored on the same images, whose AUROCs move together, the
    interval is therefore too wide rather than too narrow; `paired_interval` is the sharper one.
    """
    (a, a_lo, a_hi), (b, b_lo, b_hi) = first, second
    difference = a - b
    return difference, difference - math.hypot(a - a_lo, b_hi - b), difference + math.hypot(a_hi - a, b - b_lo)


def paired_interval(first: float, second: float, variance: float, z: float = Z95) -> tuple[float, float, float]:
    """(difference, lo, hi) of first - second from the `variance` of that difference; symmetric, cut at -1 and 1."""
    difference, half = first - second, z * math.sqrt(variance)
    return difference, max(-1.0, difference - half), min(1.0, difference + half)


def widened(value: float, lo: float, hi: float, variance: float, z: float = Z95) -> tuple[float, float]:
    """The interval of `value` with an independent error of `variance` added: square and add (Zou & Donner); cut at 0 and 1."""
    extra = z * math.sqrt(variance)
    return max(0.0, value - math.hypot(value - lo, extra)), min(1.0, value + math.hypot(hi - value, extra))
