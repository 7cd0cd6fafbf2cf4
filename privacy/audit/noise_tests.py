"""The noise of steps that sampled nobody, against the plan's: its size, mean, shape, and whether any of it repeats.

2 10^5 coordinates fix the standard deviation to 0.16% (one standard error), so that 1% too little is seen 6 errors away; one of
ten shares of noise missing (sqrt(0.9) = 0.949) is 31 away.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from privacy.audit.canaries import Inner, mean_output
from privacy.audit.finding import Finding, statistical, two_sided
from privacy.audit.stream import Seen, Stream
from privacy.randomness import SecureBits
from protocol.errors import PrivacyError

STEPS, SIZE = 4, 50_000


def noise_findings(stream: Stream) -> list[Finding]:
    """All tests of the noise of `stream`, from STEPS steps of SIZE values in which there was nobody to sample."""
    network, sigma = Inner(SIZE), stream.step.noise_multiplier
    noise = np.stack([stream.released(network, mean_output, 0, _nobody) for _ in range(STEPS)])
    return [_empty(noise), _variance(noise, sigma), _mean(noise, sigma), _shape(noise), *_repeats(noise)]


def _nobody(_patient: int, _bits: SecureBits) -> tuple[torch.Tensor, torch.Tensor]:
    raise PrivacyError("a patient was sampled from an empty cohort; privacy.randomness.sample_patients is broken.")


def _empty(noise: Seen) -> Finding:
    noised = int((np.count_nonzero(noise, axis=1) > SIZE // 2).sum())
    return Finding(
        "noise: empty steps",
        f"noise in {STEPS} of {STEPS} empty steps",
        f"{noised} of {STEPS}",
        noised == STEPS,
        "steps without a patient are skipped or not noised: their silence tells that nobody was sampled",
    )


def _variance(noise: Seen, sigma: float) -> Finding:
    """Sum of squares over sigma^2 is chi-square with n degrees of freedom."""
    from scipy import stats

    n, total = noise.size, float(np.square(noise / sigma).sum())
    p = two_sided(float(stats.chi2.cdf(total, n)), float(stats.chi2.sf(total, n)))
    ratio = math.sqrt(total / n)
    suggests = f"the noise has {ratio:.4g} times the plan's standard deviation: " + (
        "a share of it is missing, or sigma or clip_norm is used in the wrong unit"
        if ratio < 1.0
        else "no patient is protected less, but this is not the mechanism of the plan"
    )
    expected = f"std {sigma:.4g} ({n:,} values)"
    return statistical("noise: size", expected, f"{ratio * sigma:.4g} ({ratio - 1:+.2%})", p, suggests)


def _mean(noise: Seen, sigma: float) -> Finding:
    z = float(noise.mean()) * math.sqrt(noise.size) / sigma
    suggests = "the noise is not centred, which biases every step: a rounding, or uniform bits that are not uniform"
    return statistical("noise: mean", "0", f"{z:+.1f} standard errors", _normal(z), suggests)


def _shape(noise: Seen) -> Finding:
    """Kolmogorov-Smirnov against a normal distribution of the measured size, which errs on the side of no alarm."""
    from scipy import stats

    spread = float(noise.std())
    suggests = "the noise is not Gaussian: the accounting does not hold for it"
    if spread == 0.0:
        return statistical("noise: shape", "normal", "constant", 0.0, suggests)
    test = stats.kstest(((noise - noise.mean()) / spread).ravel(), "norm")
    return statistical("noise: shape", "normal", f"p = {test.pvalue:.2g}", float(test.pvalue), suggests)


def _repeats(noise: Seen) -> list[Finding]:
    """Correlation of neighbouring values and of the same value in consecutive steps: 0 with standard error 1/sqrt(pairs)."""
    found = []
    suggests = "noise is used twice or its bits repeat: who knows one value can subtract it from another"
    for name, first, second in (
        ("noise: neighbours", noise[:, :-1], noise[:, 1:]),
        ("noise: next step", noise[:-1], noise[1:]),
    ):
        power = float(noise.var())
        correlation = float((first * second).mean()) / power if power else math.nan
        p = _normal(correlation * math.sqrt(first.size))
        found.append(statistical(name, "correlation 0", f"{correlation:+.4f}", p, suggests))
    return found


def _normal(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2.0))
