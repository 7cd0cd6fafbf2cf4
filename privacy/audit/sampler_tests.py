"""Who is in a step, against Poisson sampling at the plan's rate: how often, and independently of others and of the step before.

The patients are counted by the step's own questions for their images, so what is tested is what trains. The number of draws
has a relative standard error below 0.7% for the 20 000 draws of one audit; a rate below 0.005 gets fewer of them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from privacy.audit.canaries import Inner, mean_output
from privacy.audit.finding import Finding, statistical, two_sided
from privacy.audit.stream import Stream
from privacy.randomness import SecureBits

_DRAWS, _CHANCES, _MOST_PATIENTS = 20_000, 4_000_000, 4000
_FEWEST_DRAWS = 300  # below, the approximate tails of the tests of independence are not to be trusted
_RATE = "patients are drawn at another rate than the accounting assumes"
_POISSON = "sampling is not Poisson (a shuffled or fixed-size batch, for example): its amplification must not be claimed"


def sampler_findings(stream: Stream) -> list[Finding]:
    """All tests of the sampling of `stream`, over as many steps and patients as give some 20 000 draws."""
    rate = stream.step.sampling_rate
    patients = min(_MOST_PATIENTS, math.ceil(max(50.0, 20.0 / rate)))
    drawn = _drawn(stream, patients, math.ceil(min(_DRAWS / rate, _CHANCES) / patients))
    if rate == 1.0:
        share = float(drawn.mean())
        return [Finding("sampling: rate", "every patient in every step", f"{share:.4g} of them", share == 1.0, _RATE)]
    if drawn.size * rate < _FEWEST_DRAWS:
        return [_rate(drawn, rate)]
    return [_rate(drawn, rate), _each(drawn, rate), _sizes(drawn, rate), *_pairs(drawn, rate)]


def _drawn(stream: Stream, patients: int, steps: int) -> npt.NDArray[np.bool_]:
    """Which patients were asked for, shape (steps, patients)."""
    drawn = np.zeros((steps, patients), dtype=np.bool_)
    network, image, label = Inner(1), torch.zeros(1, 1), torch.zeros(1)
    for row in drawn:

        def batch(patient: int, _bits: SecureBits, row: npt.NDArray[np.bool_] = row) -> tuple[torch.Tensor, torch.Tensor]:
            row[patient] = True
            return image, label

        stream.released(network, mean_output, patients, batch)
    return drawn


def _rate(drawn: npt.NDArray[np.bool_], rate: float) -> Finding:
    from scipy import stats

    total = int(drawn.sum())
    p = two_sided(float(stats.binom.cdf(total, drawn.size, rate)), float(stats.binom.sf(total - 1, drawn.size, rate)))
    expected = f"{rate:g} ({drawn.size:,} chances)"
    return statistical("sampling: rate", expected, f"{total / drawn.size:.4g}", p, _RATE)


def _each(drawn: npt.NDArray[np.bool_], rate: float) -> Finding:
    """Chi-square of how often each patient was drawn; `_chi_square` of binomials over steps."""
    steps, patients = drawn.shape
    squares = float(np.square(drawn.sum(axis=0) - steps * rate).sum())
    ratio, p = _chi_square(squares, steps, patients, rate)
    expected = "chi-square ratio 1"
    return statistical("sampling: each patient", expected, f"{ratio:.3f}", p, "some patients are drawn more often than others")


def _sizes(drawn: npt.NDArray[np.bool_], rate: float) -> Finding:
    """Variance of the number of patients in a step: the sum of the covariances of all pairs of patients."""
    steps, patients = drawn.shape
    squares = float(np.square(drawn.sum(axis=1) - patients * rate).sum())
    ratio, p = _chi_square(squares, patients, steps, rate)
    return statistical("sampling: all pairs", "variance of sizes, ratio 1", f"{ratio:.3f}", p, _POISSON)


def _chi_square(squares: float, n: int, count: int, rate: float) -> tuple[float, float]:
    """`squares` over its mean, and a two-sided p-value, for a sum of `count` squared deviations of Binomial(n, rate).

    A chi-square variable scaled to the exact mean and variance; the fourth central moment of a binomial with variance v is
    3 v^2 + v (1 - 6 q (1 - q)).
    """
    from scipy import stats

    variance = n * rate * (1.0 - rate)
    spread = 2.0 * variance**2 + variance * (1.0 - 6.0 * rate * (1.0 - rate))  # of one squared deviation
    freedom = 2.0 * count * variance**2 / spread
    x = squares / (count * variance)
    return x, two_sided(float(stats.chi2.cdf(x * freedom, freedom)), float(stats.chi2.sf(x * freedom, freedom)))


def _pairs(drawn: npt.NDArray[np.bool_], rate: float) -> list[Finding]:
    """Correlations of neighbouring patients and of a patient with itself a step later."""
    from scipy import stats

    found = []
    for name, first, second in (
        ("sampling: neighbours", drawn[:, :-1], drawn[:, 1:]),
        ("sampling: next step", drawn[:-1], drawn[1:]),
    ):
        both, pairs = int((first & second).sum()), first.size
        correlation = float(((first - rate) * (second - rate)).mean()) / (rate * (1.0 - rate))
        # Normal where pairs drawn together are many; at low rates their number is Poisson. The larger p is right or careful.
        few = two_sided(float(stats.poisson.cdf(both, pairs * rate**2)), float(stats.poisson.sf(both - 1, pairs * rate**2)))
        p = max(few, math.erfc(abs(correlation) * math.sqrt(pairs / 2.0)))
        found.append(statistical(name, "correlation 0", f"{correlation:+.4f}", p, _POISSON))
    return found
