"""Do hospitals differ by more than chance? Random-effects spread of their AUROCs.

Source: DerSimonian & Laird, Controlled Clinical Trials 1986;7:177-188, on logit AUROC; Q after Cochran, Biometrics
1954;10:101-129.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from evaluation.intervals import logit, score_variance
from evaluation.measured import Measured
from evaluation.metrics import near_the_edge


@dataclass(frozen=True)
class Spread:
    """Spread between sites. `tau` is the standard deviation of the true logit AUROC (0: no more than chance explains).

    `q` is chi-squared with n_sites - 1 degrees of freedom if all sites are alike, `p_value` its upper tail. With a
    handful of sites the test sees only large differences: a high p-value is no proof of likeness.
    """

    tau: float
    q: float
    p_value: float
    n_sites: int


def spread(sites: Sequence[Measured]) -> Spread | None:
    """Random-effects spread of the sites whose AUROC is estimable over all classes; None with fewer than two."""
    points = [_logit_point(site) for site in sites if site.estimable and site.complete]
    if len(points) < 2:
        return None
    values, variances = np.array(points).T
    weights = 1.0 / variances
    mean = (weights * values).sum() / weights.sum()
    q = float((weights * (values - mean) ** 2).sum())
    freedom = len(points) - 1
    scale = weights.sum() - (weights**2).sum() / weights.sum()
    tau = float(np.sqrt(max(0.0, (q - freedom) / scale)))
    return Spread(tau=tau, q=q, p_value=float(chdtrc(freedom, q)), n_sites=len(points))


def _logit_point(site: Measured) -> tuple[float, float]:
    """logit AUROC and its variance; near 0 or 1 half a case of the smaller class stands in for certainty."""
    value, variance = site.value or 0.0, site.variance or 0.0
    smaller = min(site.n_positive, site.n_negative)
    if near_the_edge(value, variance, smaller):
        half_case = 0.5 / (smaller + 1.0)
        value = min(max(value, half_case), 1.0 - half_case)
        variance = max(variance, score_variance(value, site.n_positive, site.n_negative))
    return logit(value), variance / (value * (1.0 - value)) ** 2
