from __future__ import annotations

import math
from fractions import Fraction

import mpmath  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from privacy import noise, staircase
from privacy.noise import discrete_gaussian, discrete_laplace
from privacy.randomness import SecureBits
from protocol.errors import PrivacyError
from tests.privacy.fixed_bits import fix

Samples = npt.NDArray[np.int64]
SIGMAS = (0.5, 1.0, 3.7, 1000.0, 2.0**20)


@pytest.fixture(autouse=True)
def _fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    fix(monkeypatch)


def gaussian_p(samples: Samples, sigma: float) -> float:
    """p-value of a chi-square test against the exact pmf, in some 60 cells of neighbouring integers."""
    side = math.ceil(9 * sigma)
    x = np.arange(-side, side + 1)
    pmf = np.exp(-0.5 * (x / sigma) ** 2)
    pmf /= pmf.sum()
    return chi_square_p(samples, x, pmf)


def chi_square_p(samples: Samples, x: Samples, pmf: npt.NDArray[np.float64]) -> float:
    below = np.cumsum(pmf)
    cuts = np.unique(np.searchsorted(below, np.arange(1, 60) / 60.0))
    cuts = cuts[len(samples) * (1 - below[cuts]) > 20]  # the last cell is not too small
    expected = np.diff(np.concatenate([[0.0], below[cuts], [1.0]]))
    cells = np.searchsorted(x[cuts], samples, side="left")
    observed = np.bincount(cells, minlength=len(expected))
    return float(stats.chisquare(observed, expected * len(samples)).pvalue)


def has_std(samples: Samples, sigma: float) -> bool:
    """At 10^5 coordinates chance moves the standard deviation by more than 0.74% once in a thousand times."""
    return abs(float(np.std(samples)) / sigma - 1.0) < 0.0074


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_samples_follow_the_exact_distribution(sigma: float) -> None:
    samples = discrete_gaussian(400_000, sigma)
    assert gaussian_p(samples, sigma) > 1e-3
    assert gaussian_p(discrete_gaussian(400_000, 1.02 * sigma), sigma) < 1e-6  # the test sees 2% too much


def test_a_rounded_continuous_gaussian_would_be_noticed() -> None:
    rounded = np.rint(np.random.default_rng(0).normal(0.0, 1.0, 400_000)).astype(np.int64)
    assert gaussian_p(rounded, 1.0) < 1e-6


@pytest.mark.parametrize("sigma", SIGMAS)
def test_moments(sigma: float) -> None:
    samples = discrete_gaussian(400_000, sigma)
    x = np.arange(-math.ceil(10 * sigma), math.ceil(10 * sigma) + 1, dtype=np.float64)
    pmf = np.exp(-0.5 * (x / sigma) ** 2)
    variance, fourth = ((x**k * pmf).sum() / pmf.sum() for k in (2, 4))
    assert abs(samples.mean()) < 4.0 * math.sqrt(variance / len(samples))
    assert abs(np.square(samples, dtype=np.float64).mean() - variance) < 4.0 * math.sqrt((fourth - variance**2) / len(samples))
    assert abs((samples.astype(np.float64) ** 3).mean()) < 4.0 * math.sqrt(15 * sigma**6 / len(samples))


def test_the_low_digits_are_uniform_at_a_large_sigma() -> None:
    samples = discrete_gaussian(400_000, 2.0**20)
    for shift in (0, 5, 10, 14):  # across the strips' borders too
        counts = np.bincount((samples >> shift) & 15, minlength=16)
        assert stats.chisquare(counts).pvalue > 1e-3
    assert stats.kstest(samples / 2.0**20, "norm").pvalue > 1e-3


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5, 3.7, 64.0, 1000.0, 5000.5])
def test_the_staircase_gives_every_integer_its_exact_weight(sigma: float) -> None:
    """Whole cells plus the accepted part of the crossed ones is peak * exp(-x^2 / 2 sigma^2), for every x."""
    stairs = staircase.staircase(sigma)
    width = 1 << stairs.shift
    padding = stairs.level > stairs.peak
    side = math.ceil(12 * sigma)
    x = np.arange(-side, side + 1)
    curve = stairs.peak * np.exp(-0.5 * (x / sigma) ** 2)
    weight = np.zeros(len(x))
    crossed = np.arange(1 << 16) >= stairs.inner
    for strip in np.unique(stairs.base[~padding]):
        inside = (x >= strip) & (x < strip + width)
        here = stairs.base == strip
        weight[inside] += (here & ~crossed).sum()
        for level in stairs.level[here & crossed & ~padding]:
            weight[inside] += np.clip(curve[inside] - level, 0.0, 1.0)
    np.testing.assert_allclose(weight, curve, rtol=0, atol=1e-8)
    assert stairs.inner > 0.9 * (1 << 16)


def test_close_comparisons_are_decided_exactly() -> None:
    stairs = staircase.staircase(2.0**20)
    with mpmath.workdps(50):
        for value in (1, 12_345, 700_000, -2_000_000):
            curve = stairs.peak * mpmath.exp(-(mpmath.mpf(value) ** 2) / (2 * mpmath.mpf(stairs.sigma) ** 2))
            level = int(mpmath.floor(curve))
            word = int(mpmath.floor((curve - level) * 2**64))
            assert stairs.accept_exactly(value, level, word - 1, SecureBits())
            assert not stairs.accept_exactly(value, level, word + 1, SecureBits())


def test_the_exact_comparison_is_used_where_floats_are_too_coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    stairs = staircase.staircase(3.7)
    monkeypatch.setattr(staircase, "BAND", 1e9)
    samples = np.empty(40_000, dtype=np.int64)
    noise._draw(samples, stairs, SecureBits())
    assert gaussian_p(samples, 3.7) > 1e-3


def test_samples_do_not_depend_on_each_other() -> None:
    samples = discrete_gaussian(300_000, 1000.0)
    for lag in (1, 2, 7, 32_768):  # 32768: the next chunk
        assert abs(np.corrcoef(samples[:-lag], samples[lag:])[0, 1]) < 4.0 / math.sqrt(len(samples))
    magnitudes = np.abs(samples)
    assert abs(np.corrcoef(magnitudes[:-1], magnitudes[1:])[0, 1]) < 4.0 / math.sqrt(len(samples))


def test_no_noise_is_given_twice() -> None:
    bits = SecureBits()
    draws = [discrete_gaussian(1000, 2.0**20, bits) for _ in range(3)] + [discrete_gaussian(1000, 2.0**20) for _ in range(3)]
    for index, one in enumerate(draws):
        for other in draws[index + 1 :]:
            assert (one == other).mean() < 0.01
            assert not np.isin(one[:-1], other).all()


@pytest.mark.parametrize("sigma", [2.0**20, 1.1 * 2.0**20, 2.0**23, 2.0**40])
def test_an_empty_round_has_the_promised_noise(sigma: float) -> None:
    assert has_std(discrete_gaussian(100_000, sigma), sigma)
    assert not has_std(discrete_gaussian(100_000, sigma * math.sqrt(9 / 10)), sigma)


@pytest.mark.parametrize("scale", [0.1, 0.4, 1.0, 1 / 0.3, 250.0])
def test_discrete_laplace(scale: float) -> None:
    samples = discrete_laplace(300_000, scale)
    side = math.ceil(40 * scale)
    x = np.arange(-side, side + 1)
    pmf = np.exp(-np.abs(x) / scale)
    if scale > 0.2:  # at 0.1 nearly everything is 0
        assert chi_square_p(samples, x, pmf / pmf.sum()) > 1e-3
        assert chi_square_p(discrete_laplace(300_000, scale * 1.03), x, pmf / pmf.sum()) < 1e-6
    ratio = math.exp(-1 / scale)
    variance = 2 * ratio / (1 - ratio) ** 2
    assert abs(samples.mean()) < 4 * math.sqrt(variance / len(samples))


def test_the_digits_of_a_geometric_variable_multiply_to_its_probabilities() -> None:
    """Exactly, not in samples: P(g) from the thresholds is (1 - r) r^g to 1e-30."""
    with mpmath.workdps(45):
        for scale in (0.4, 3.7):
            ratio = mpmath.exp(-1 / mpmath.mpf(scale))
            digits = [mpmath.mpf((high << 64) + low) / 2**128 for high, low in noise._digit_thresholds(scale)]
            for g in range(20):
                p = mpmath.mpf(1)
                for j, one in enumerate(digits):
                    p *= one if g >> j & 1 else 1 - one
                if g < 2 ** len(digits):
                    assert abs(p - (1 - ratio) * ratio**g) < mpmath.mpf(10) ** -30


def test_a_tie_in_the_first_word_is_decided_by_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ties(SecureBits):
        def words(self, n: int) -> npt.NDArray[np.uint64]:
            return np.full(n, 5, dtype=np.uint64)

    assert noise._below(3, 5, 6, Ties()).all()
    assert not noise._below(3, 5, 5, Ties()).any()
    assert not noise._below(3, 4, 6, Ties()).any()


@pytest.mark.parametrize("draw", [discrete_gaussian, discrete_laplace])
def test_what_cannot_be_drawn_is_refused(draw: object) -> None:
    assert callable(draw)
    assert draw(0, 1.0).shape == (0,)
    assert draw(0, 1.0).dtype == np.int64
    for scale in (0.0, -1.0, 0.01, math.nan, math.inf, 2.0**41):
        with pytest.raises(PrivacyError):
            draw(1, scale)
    with pytest.raises(PrivacyError):
        draw(-1, 1.0)


def test_the_promised_tail() -> None:
    assert 2 * stats.norm.sf(12.0) < 4e-33
    assert Fraction(staircase.BAND) > 8 * 11 * Fraction(2**16, 2**53)
