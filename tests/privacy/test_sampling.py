from __future__ import annotations

import math
import os

import numpy as np
import pytest
from scipy import stats

from privacy.randomness import SecureBits, choose, sample_patients
from protocol.errors import PrivacyError
from tests.privacy.fixed_bits import fix

TRIALS = 4000


def test_nobody_can_seed_the_bits() -> None:
    with pytest.raises(TypeError):
        SecureBits(7)  # type: ignore[call-arg]
    assert not np.isin(SecureBits().words(1000), SecureBits().words(1000)).any()
    bits = SecureBits()
    assert not np.isin(bits.words(1000), bits.words(1000)).any()
    assert bits.words(0).shape == (0,)


def test_key_and_nonce_come_from_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    fix(monkeypatch)
    first = SecureBits().words(8)
    fix(monkeypatch)
    assert (SecureBits().words(8) == first).all()
    fix(monkeypatch, seed=1)
    assert (SecureBits().words(8) != first).all()


def test_a_forked_process_takes_a_new_key(monkeypatch: pytest.MonkeyPatch) -> None:
    fix(monkeypatch)
    untouched, forked = SecureBits(), SecureBits()
    fix(monkeypatch)
    same = SecureBits()
    assert (untouched.words(4) == same.words(4)).all()
    fix(monkeypatch, seed=2)
    fresh = SecureBits().words(4)
    fix(monkeypatch, seed=2)
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    assert (forked.words(4) == fresh).all()


def test_the_bits_are_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    fix(monkeypatch)
    octets = SecureBits().words(100_003).view(np.uint8)
    assert stats.chisquare(np.bincount(octets, minlength=256)).pvalue > 1e-3


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5, 0.97])
def test_each_patient_is_drawn_with_the_rate_independently_of_the_others(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    fix(monkeypatch)
    bits, n = SecureBits(), 50
    drawn = np.zeros((TRIALS, n), dtype=bool)
    for trial in drawn:
        trial[sample_patients(n, rate, bits)] = True
    each = drawn.sum(axis=0)
    chi = ((each - TRIALS * rate) ** 2 / (TRIALS * rate * (1 - rate))).sum()
    assert 1e-4 < stats.chi2.sf(chi, n) < 1 - 1e-4  # too even would be as wrong as too uneven
    sizes = drawn.sum(axis=1)  # the number of patients is binomial, not fixed
    assert abs(sizes.var() / (n * rate * (1 - rate)) - 1) < 4 * math.sqrt(2 / TRIALS) + 0.05
    together = np.corrcoef(drawn.T) - np.eye(n)
    assert np.abs(together).max() < 5 / math.sqrt(TRIALS)
    assert abs(np.corrcoef(sizes[:-1], sizes[1:])[0, 1]) < 4 / math.sqrt(TRIALS)


def test_the_ends_of_the_range() -> None:
    assert (sample_patients(1000, 1.0) == np.arange(1000)).all()
    assert sample_patients(1000, 2.0**-60).size == 0
    assert sample_patients(0, 0.5).shape == (0,)
    assert sample_patients(5, 0.5).dtype == np.int64
    for rate in (0.0, -0.1, 1.0 + 1e-9, math.nan, math.inf):
        with pytest.raises(PrivacyError):
            sample_patients(10, rate)
    with pytest.raises(PrivacyError):
        sample_patients(-1, 0.5)


def test_the_threshold_is_exact() -> None:
    class Edge(SecureBits):
        def words(self, n: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
            return np.array([2**63 - 1, 2**63][:n], dtype=np.uint64)

    assert sample_patients(2, 0.5, Edge()).tolist() == [0]


def test_every_ordered_choice_is_equally_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    fix(monkeypatch)
    bits = SecureBits()
    counts = np.zeros((5, 5), dtype=np.int64)
    for _ in range(10_000):
        first, second = choose(5, 2, bits)
        counts[first, second] += 1
    assert np.trace(counts) == 0
    assert stats.chisquare(counts[~np.eye(5, dtype=bool)]).pvalue > 1e-3


def test_choices_are_distinct_and_in_range() -> None:
    assert sorted(choose(20, 20)) == list(range(20))
    assert choose(3, 0).shape == (0,)
    assert len(set(choose(1000, 8).tolist())) == 8
    for n, k in ((3, 4), (3, -1), (-1, 0)):
        with pytest.raises(PrivacyError):
            choose(n, k)


def test_words_beyond_the_last_whole_multiple_are_drawn_again() -> None:
    """2^64 is no multiple of 3 * 2^61: its last quarter would make small numbers too likely."""

    script = [2**64 - 1, 3 * 2**62 + 1, 3 * 2**62 - 1]

    class Scripted(SecureBits):
        def words(self, n: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
            return np.array([script.pop(0) for _ in range(n)], dtype=np.uint64)

    assert Scripted().below(np.array([3 * 2**61], dtype=np.uint64)).tolist() == [3 * 2**61 - 1]
