"""Each rule against an oracle: numpy, scipy, and Krum written out as its paper says it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import trim_mean

from aggregator.robust import bounded, build_combiner, length
from aggregator.robust import stack as stack_module
from protocol.errors import UpdateError
from protocol.plan.aggregation import Aggregation, Krum, Mean, Median, TrimmedMean
from protocol.vectors import Vector

SILOS = tuple("abcdefghi")
ALL = [Mean(name="mean"), Median(name="median"), TrimmedMean(name="trimmed_mean", trim=0.2), Krum(name="krum", byzantine=2)]


def updates(count: int, size: int = 23, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def combine(aggregation: Aggregation, rows: np.ndarray, order: list[int] | None = None) -> tuple[Vector, dict[str, float]]:
    combiner = build_combiner(aggregation, SILOS, rows.shape[1])
    for index in order or range(len(rows)):
        combiner.add(SILOS[index], rows[index], 1.0)
    found = combiner.result()
    return found.update, dict(found.weights)


def naive_krum(rows: np.ndarray, f: int, keep: int) -> list[int]:
    """Blanchard et al. 2017, section 4, by the definition; ties go to the first."""
    n, scores = len(rows), []
    for i in range(n):
        distances = sorted(float(((rows[i].astype(np.float64) - rows[j]) ** 2).sum()) for j in range(n) if j != i)
        scores.append(sum(distances[: n - f - 2]))
    return sorted(sorted(range(n), key=lambda i: (scores[i], i))[:keep])


@pytest.fixture(params=[1 << 20, 16])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once in one block, once in many, the last of them shorter."""
    monkeypatch.setattr(stack_module, "_VALUES", request.param)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("count", [3, 4, 7, 8])
class TestAgainstOracles:
    def test_the_median_is_numpy_s(self, count: int) -> None:
        rows = updates(count)
        expected = np.median(rows.astype(np.float64), axis=0).astype(np.float32)
        np.testing.assert_array_equal(combine(Median(name="median"), rows)[0], expected)

    @pytest.mark.parametrize("trim", [0.1, 0.2, 0.34, 0.49])
    def test_the_trimmed_mean_is_scipy_s(self, count: int, trim: float) -> None:
        rows = updates(count)
        expected = trim_mean(rows.astype(np.float64), trim, axis=0)
        np.testing.assert_allclose(
            combine(TrimmedMean(name="trimmed_mean", trim=trim), rows)[0], expected, rtol=1e-5, atol=1e-7
        )

    @pytest.mark.parametrize("keep", [1, 2])
    def test_krum_chooses_what_its_paper_says(self, count: int, keep: int) -> None:
        for seed, f in itertools.product(range(20), (0, 1, 2)):
            rows = updates(count, seed=seed)
            rows[seed % count] *= 30.0
            settings = Krum.model_construct(name="krum", byzantine=f, keep=keep)
            if count < f + 3:
                continue
            update, weights = combine(settings, rows)
            chosen = naive_krum(rows, f, keep)
            assert list(weights) == [SILOS[index] for index in chosen]
            np.testing.assert_allclose(update, rows[chosen].mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("aggregation", ALL, ids=lambda a: a.name)
class TestEveryAggregation:
    def test_the_order_of_arrival_does_not_matter(self, aggregation: Aggregation) -> None:
        rows = updates(7)
        first, weights = combine(aggregation, rows)
        other, others = combine(aggregation, rows, [6, 2, 0, 5, 1, 4, 3])
        np.testing.assert_allclose(first, other, rtol=1e-6, atol=1e-8)
        assert weights == others
        assert aggregation.name == "mean" or first.tobytes() == other.tobytes()

    def test_equal_updates_come_out_as_they_are(self, aggregation: Aggregation) -> None:
        rows = np.repeat(updates(1), 7, axis=0)
        np.testing.assert_array_equal(combine(aggregation, rows)[0], rows[0])

    def test_silos_that_sent_nothing_count_for_nothing(self, aggregation: Aggregation) -> None:
        rows = updates(9)
        came = [1, 2, 3, 5, 6, 7, 8]
        absent, weights = combine(aggregation, rows, came)
        combiner = build_combiner(aggregation, tuple(SILOS[index] for index in came), rows.shape[1])
        for index in came:
            combiner.add(SILOS[index], rows[index], 1.0)
        np.testing.assert_array_equal(absent, combiner.result().update)
        assert set(weights) <= {SILOS[index] for index in came}


@pytest.mark.parametrize("aggregation", ALL[1:], ids=lambda a: a.name)
def test_two_of_seven_poisoned_at_any_length_move_it_no_further_than_the_honest_spread(aggregation: Aggregation) -> None:
    rows = updates(7)
    if isinstance(aggregation, TrimmedMean):
        aggregation = TrimmedMean(name="trimmed_mean", trim=0.3)
    honest, poison = rows[2:], np.float32(3e38)
    for sign in (1, -1):
        rows[:2] = sign * poison
        update, _ = combine(aggregation, rows)
        assert (update >= honest.min(axis=0)).all()
        assert (update <= honest.max(axis=0)).all()
    rows[:2] = [[poison], [-poison]]
    assert np.isfinite(combine(aggregation, rows)[0]).all()


def test_a_second_update_of_one_silo_is_refused() -> None:
    combiner = build_combiner(Median(name="median"), SILOS, 3)
    combiner.add("a", np.zeros(3, dtype=np.float32), 1.0)
    with pytest.raises(UpdateError, match="second"):
        combiner.add("a", np.ones(3, dtype=np.float32), 1.0)


@given(
    seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-30, 1.0, 1e30, 1e38]), bound=st.sampled_from([1e-3, 1.0, 50.0])
)
def test_a_bounded_update_keeps_its_direction_and_is_no_longer_than_the_bound(seed: int, scale: float, bound: float) -> None:
    vector = (np.random.default_rng(seed).uniform(-1, 1, 40) * scale).astype(np.float32)
    short, norm = bounded(vector, bound)
    assert norm == pytest.approx(float(np.linalg.norm(vector.astype(np.float64))))
    assert length(short) <= bound * (1 + 1e-6)
    if norm <= bound:
        assert short is vector
    else:
        np.testing.assert_allclose(short, vector.astype(np.float64) * (bound / norm), rtol=1e-6, atol=1e-30)


def test_a_vector_longer_than_float32_can_count_has_a_finite_length() -> None:
    assert length(np.full(10, 3e38, dtype=np.float32)) == pytest.approx(3e38 * np.sqrt(10), rel=1e-6)
