"""What a hospital counts: every image by class, group, label and bin, or under privacy one vote of each patient."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.audit.counting import TestRows as Rows
from evaluation.audit.counting import count_images, count_votes, noised
from evaluation.audit.edges import choose_edges, threshold_index
from evaluation.audit.sums import check_counts
from protocol.errors import EvaluationError
from tests.evaluation.audit.made_up_rows import SITES, attributes, layout, logs, pooled_grid, summed
from tests.evaluation.audit.made_up_rows import hospitals as made_up


def group(shape, **wanted):
    """Place of the group with these values."""
    pairs = tuple(wanted.items())
    return next(index for index, one in enumerate(shape.groups) if one.pairs == pairs and one.site is None)


def first(k: int) -> int:
    return 0


def last(k: int) -> int:
    return k - 1


def rows_of(labels, odds, patients, values) -> Rows:
    return Rows(np.array(labels), logs(np.array(odds, dtype=float)), np.array(patients), values)


def test_every_image_is_counted_once_in_each_family():
    shape, rows = layout(intersections=(("sex", "age"),)), made_up(np.random.default_rng(3), 300)
    _, vector = summed(shape, rows)
    counts, patients = shape.split(vector)
    check_counts(shape, vector, SITES)  # all families add up to everyone, bin by bin
    assert counts[0, 0].sum() == 900
    assert patients[0, 0].sum(axis=0).tolist() == [900, 900]
    assert np.array_equal(shape.join(counts, patients), vector)
    women_over_80 = sum(one["sex"] == "F" and one["age"] >= 80 for hospital in rows.values() for one in hospital.attributes)
    assert counts[0, group(shape, sex="F", age="80+")].sum() == women_over_80


def test_figures_at_a_threshold_are_exact():
    shape, rows = layout(), made_up(np.random.default_rng(4), 400)
    edges, vector = summed(shape, rows)
    counts, _ = shape.split(vector)
    odds = np.concatenate([one.log_probabilities[:, 1] for one in rows.values()])
    labels = np.concatenate([one.labels for one in rows.values()])
    for threshold in shape.thresholds:
        mark = threshold_index(edges[0], threshold) + 1
        called = 1.0 / (1.0 + np.exp(-odds)) >= threshold
        assert counts[0, 0, 0, mark:].sum() == (called & (labels == 1)).sum()
        assert counts[0, 0, 1, mark:].sum() == (called & (labels == 0)).sum()


def test_patients_and_their_squares_are_counted_by_label_and_group():
    shape = layout(sites=("a",), attributes=("sex",))
    rows = rows_of([1, 1, 1, 0, 0], [1, 2, 3, -1, -2], [7, 7, 8, 7, 9], [{"sex": "F"}] * 3 + [{"sex": "M"}, {}])
    edges = choose_edges(shape, pooled_grid({"a": rows}))
    _, patients = shape.split(count_images(shape, "a", edges, rows))
    assert patients[0, 0].tolist() == [[2, 5], [2, 2]]  # positives: 2 + 1 images; negatives: one each
    assert patients[0, group(shape, sex="M")].tolist() == [[0, 0], [1, 1]]
    assert patients[0, group(shape, sex="unknown")].tolist() == [[0, 0], [1, 1]]


def test_with_several_classes_every_class_counts_the_same_images():
    rng = np.random.default_rng(5)
    rows = {site: Rows(rng.integers(0, 3, 80), rng.normal(size=(80, 3)), np.arange(80), attributes(rng, 80)) for site in SITES}
    shape = layout(3)
    _, vector = summed(shape, rows, 3)
    counts, _ = shape.split(vector)
    check_counts(shape, vector, SITES)
    assert counts[:, 0].sum(axis=(1, 2)).tolist() == [240] * 3
    assert counts[:, 0, 0].sum() == 240  # each image is positive for one class


def test_a_hospital_without_patients_sends_zeros():
    shape = layout()
    rows = Rows(np.zeros(0, dtype=int), np.zeros((0, 2)), np.zeros(0, dtype=int), [])
    edges = choose_edges(shape, pooled_grid(made_up(np.random.default_rng(6), 50)))
    assert not count_images(shape, "a", edges, rows).any()
    private = layout(private=True)
    assert not count_votes(private, "a", choose_edges(private), rows, first).any()


def test_a_diverged_model_is_refused_without_privacy_and_votes_at_even_odds_with_it():
    values = [{"sex": "F", "age": 50}] * 3
    rows = rows_of([1, 0, 1], [np.nan, 0.0, 2.0], [1, 2, 3], values)
    shape, private = layout(), layout(private=True)
    edges = choose_edges(shape, pooled_grid(made_up(np.random.default_rng(7), 50)))
    with pytest.raises(EvaluationError, match="diverged"):
        count_images(shape, "a", edges, rows)
    fixed = choose_edges(private)
    counts, patients = private.split(count_votes(private, "a", fixed, rows, first))
    assert patients is None
    assert counts[0, 0, 0, threshold_index(fixed[0], 0.5) + 1 :].sum() == 2  # 0 counts as called at 0.5


@pytest.mark.parametrize("age", ["ninety", float("nan"), float("inf"), None])
def test_an_age_that_is_no_number_counts_as_unknown(age):
    private = layout(private=True)
    rows = rows_of([1], [0.0], [1], [{"sex": "X", "age": age}])
    counts, _ = private.split(count_votes(private, "a", choose_edges(private), rows, first))
    assert counts[0, group(private, age="unknown")].sum() == 1
    assert counts[0, group(private, sex="unknown")].sum() == 1


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1), st.integers(0, 99)), min_size=1, max_size=25), st.integers(0, 5)
)
@settings(max_examples=60, deadline=None)
def test_a_patient_moves_one_count_in_each_family_and_class(images, leaves):
    shape = layout(private=True, intersections=(("sex", "age"),))

    def vote(some):
        values = [{"sex": "FM"[age % 2], "age": age} for _, _, age in some]
        odds = [float(age) / 10 - 5 for _, _, age in some]
        rows = rows_of(
            [label for _, label, _ in some] or np.zeros(0, dtype=int),
            odds,
            [who for who, _, _ in some] or np.zeros(0, dtype=int),
            values,
        )
        return count_votes(shape, "a", choose_edges(shape), rows, lambda k: k - 1)

    moved = np.abs(vote(images) - vote([one for one in images if one[0] != leaves]))
    there = any(who == leaves for who, _, _ in images)
    assert moved.sum() == (shape.votes if there else 0)
    assert moved.max() <= 1


def test_the_same_image_votes_in_every_group_and_class():
    shape = layout(private=True)
    rows = rows_of([1, 0], [3.0, -3.0], [4, 4], [{"sex": "F", "age": 30}, {"sex": "M", "age": 90}])
    counts, _ = shape.split(count_votes(shape, "a", choose_edges(shape), rows, last))
    held = {(one.attribute, one.value) for index, one in enumerate(shape.groups) if counts[0, index].any()}
    assert held == {("all", "all"), ("site", "a"), ("sex", "M"), ("age", "80+")}


def test_noise_goes_on_every_count_of_a_hospitals_own_groups():
    shape = layout(private=True)
    mask = noised(shape, "b")
    assert mask.shape == (shape.size,)
    marked = shape.split(mask.astype(np.int64))[0]
    for index, one in enumerate(shape.groups):
        assert (marked[:, index] == (one.site in (None, "b"))).all()


def test_rows_that_do_not_belong_together_are_refused():
    shape = layout()
    edges = choose_edges(shape, pooled_grid(made_up(np.random.default_rng(9), 50)))
    good = rows_of([1, 0], [0.0, 1.0], [1, 2], [{}, {}])
    for spoilt in (
        Rows(good.labels, good.log_probabilities, good.patients[:1], good.attributes),
        Rows(good.labels, good.log_probabilities, good.patients, good.attributes[:1]),
        Rows(good.labels, np.zeros((2, 3)), good.patients, good.attributes),
    ):
        with pytest.raises(EvaluationError):
            count_images(shape, "a", edges, spoilt)
    with pytest.raises(EvaluationError, match="roster"):
        count_images(shape, "elsewhere", edges, good)
