"""The largest difference between groups: what chance gives, its interval, its p-value; by scipy, by hand and by lot."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evaluation.audit.fairness_chance import holm, null_gap, range_p, range_z
from evaluation.audit.fairness_gap import gap, p_above, upper
from evaluation.audit.fairness_points import Point
from evaluation.intervals import Z95, difference_interval, logit_interval


def normal(name: str, value: float, error: float) -> Point:
    return Point(name, value, lambda z: (value - z * error, value + z * error))


def normals(values: list[float], errors: list[float]) -> list[Point]:
    return [normal(str(one), value, error) for one, (value, error) in enumerate(zip(values, errors, strict=True))]


@pytest.mark.parametrize("k", [2, 3, 4, 10, 30])
@pytest.mark.parametrize("z", [0.3, 1.0, 2.0, 3.3, 4.5])
def test_the_chance_of_a_range_is_that_of_scipys_studentized_range(k: int, z: float) -> None:
    assert range_p(z, k) == pytest.approx(stats.studentized_range.sf(z * math.sqrt(2.0), k, np.inf), abs=1e-7)


def test_two_groups_need_1_96_standard_errors_and_ten_need_3_16() -> None:
    assert range_z(2) == pytest.approx(1.959964, abs=1e-6)
    assert range_z(10) == pytest.approx(stats.studentized_range.ppf(0.95, 10, np.inf) / math.sqrt(2.0), abs=1e-5)


def test_the_null_gap_of_two_groups_is_the_mean_of_a_folded_normal() -> None:
    assert null_gap([0.03, 0.04]) == pytest.approx(0.05 * math.sqrt(2.0 / math.pi), rel=0.02)


@pytest.mark.parametrize("errors", [[0.02] * 5, [0.01, 0.02, 0.05, 0.08], [0.03] * 10])
def test_the_null_gap_is_that_of_many_draws(errors: list[float]) -> None:
    drawn = np.random.default_rng(1).standard_normal((200_000, len(errors))) * errors
    assert null_gap(errors) == pytest.approx(np.ptp(drawn, axis=1).mean(), rel=0.015)


def test_the_null_gap_of_two_families_is_that_of_the_larger_gap() -> None:
    rng = np.random.default_rng(2)
    one, two = rng.standard_normal((200_000, 4)) * 0.02, rng.standard_normal((200_000, 4)) * 0.03
    expected = np.maximum(np.ptp(one, axis=1), np.ptp(two, axis=1)).mean()
    assert null_gap([0.02] * 4, [0.03] * 4) == pytest.approx(expected, rel=0.015)


def test_holm_by_hand() -> None:
    # Sorted .005 .01 .03 .04, times 4 3 2 1, never less than the one before: .02 .03 .06 .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    rejected, order = set(), np.argsort(p_values, kind="stable")
    for rank, one in enumerate(order):
        if p_values[one] * (len(p_values) - rank) > 0.05:
            break
        rejected.add(int(one))
    assert {one for one, p in enumerate(adjusted) if p <= 0.05} == rejected


def test_two_groups_have_newcombes_interval_of_a_difference() -> None:
    first, second = logit_interval(0.9, 0.0004), logit_interval(0.8, 0.0009)
    points = [
        Point("a", 0.8, lambda z: logit_interval(0.8, 0.0009, z)),
        Point("b", 0.9, lambda z: logit_interval(0.9, 0.0004, z)),
    ]
    found = gap(points)
    value, lo, hi = difference_interval((0.9, *first), (0.8, *second))
    assert (found.value, found.lo, found.hi) == pytest.approx((value, lo, hi), abs=1e-6)
    assert (found.lowest, found.highest) == ("a", "b")


def test_two_normal_figures_have_the_p_value_of_a_z_test() -> None:
    z = 0.1 / math.hypot(0.03, 0.04)
    assert p_above(normals([0.8, 0.9], [0.03, 0.04])) == pytest.approx(2.0 * stats.norm.sf(z), abs=1e-9)


def test_groups_that_are_equal_have_no_gap_and_a_p_value_of_one() -> None:
    points = normals([0.7] * 4, [0.02] * 4)
    assert gap(points).value == 0.0
    assert gap(points).lo == 0.0
    assert p_above(points) == 1.0


def test_figures_beyond_all_doubt_have_a_p_value_of_nothing() -> None:
    assert p_above(normals([0.1, 0.9], [1e-4, 1e-4])) == pytest.approx(0.0, abs=1e-12)


_FAMILY = st.lists(st.tuples(st.floats(0.05, 0.95), st.floats(0.005, 0.2)), min_size=2, max_size=8)


@settings(max_examples=60, deadline=None)
@given(_FAMILY, st.randoms(use_true_random=False))
def test_the_order_of_the_groups_does_not_matter(family: list[tuple[float, float]], shuffler: object) -> None:
    points = normals(*map(list, zip(*family, strict=True)))
    mixed = list(points)
    shuffler.shuffle(mixed)  # type: ignore[attr-defined]
    assert gap(mixed) == gap(points)
    assert p_above(mixed) == p_above(points)
    errors = [error for _, error in family]
    assert null_gap(errors) == null_gap(errors[::-1])


@settings(max_examples=60, deadline=None)
@given(_FAMILY)
def test_the_p_value_is_below_5_per_cent_just_where_the_lower_limit_is_above_nothing(family: list[tuple[float, float]]) -> None:
    points = normals(*map(list, zip(*family, strict=True)))
    found, p = gap(points), p_above(points)
    assert found.lo <= found.value <= found.hi
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == (found.lo > 0.0)


@settings(max_examples=60, deadline=None)
@given(_FAMILY, st.floats(0.01, 0.3))
def test_a_larger_margin_is_harder_to_exceed(family: list[tuple[float, float]], margin: float) -> None:
    points = normals(*map(list, zip(*family, strict=True)))
    assert p_above(points, margin) >= p_above(points)


@pytest.mark.parametrize(
    ("true", "errors"),
    [
        ([0.8] * 4, [0.03] * 4),
        ([0.8] * 10, [0.03] * 10),
        ([0.8] * 5, [0.01, 0.02, 0.03, 0.05, 0.08]),
    ],
)
def test_groups_that_do_not_differ_are_told_apart_in_at_most_5_of_100(true: list[float], errors: list[float]) -> None:
    rng, repeats = np.random.default_rng(3), 1000
    alarms = sum(p_above(normals(list(rng.normal(true, errors)), errors)) <= 0.05 for _ in range(repeats))
    assert alarms / repeats <= 0.05 + 3.0 * math.sqrt(0.05 * 0.95 / repeats)
    assert alarms  # a test that never speaks would pass the line above


@pytest.mark.parametrize("true", [[0.8, 0.8, 0.7], [0.8, 0.7], [0.8, 0.78, 0.76, 0.74, 0.72]])
def test_the_limits_hold_the_true_gap_as_often_as_they_say(true: list[float]) -> None:
    rng, errors, repeats = np.random.default_rng(4), [0.03, 0.02, 0.04, 0.03, 0.03][: len(true)], 1000
    slack = 3.0 * math.sqrt(0.05 * 0.95 / repeats)
    drawn = [normals(list(rng.normal(true, errors)), errors) for _ in range(repeats)]
    assert np.mean([gap(points).lo > np.ptp(true) for points in drawn]) <= 0.05 + slack
    assert np.mean([upper(points, Z95) < np.ptp(true) for points in drawn]) <= 0.025 + slack
