"""Two models on the same test images: what is counted, the differences and their intervals, and what stays hidden."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.audit import content
from evaluation.audit.counting import count_images
from evaluation.audit.edges import choose_edges
from evaluation.audit.pairs import COARSE, N_COARSE, SCORES, own_coarse, summed_by
from evaluation.audit.sums import added, check_counts, own_layout
from evaluation.comparison import PAIRED, UNPAIRED
from evaluation.delong import paired_delong
from evaluation.histograms import EDGES
from evaluation.intervals import Z95
from evaluation.scoring import log_odds
from protocol.errors import EvaluationError
from tests.evaluation.audit.made_up_rows import Rows, attributes, layout, logs, pooled_grid, summed
from tests.evaluation.audit.two_models import audited, both, everyone, paired_layout, swapped

# ------------------------------------------------------------------------------------------------------------ the counts


def test_both_tables_are_those_of_the_rows_counted_one_by_one() -> None:
    rows, shape = both(np.random.default_rng(1), 60), paired_layout()
    edges, total = summed(shape, rows)
    pairs = shape.split_pairs(total)
    assert pairs is not None
    scores, joint = np.zeros_like(pairs[0]), np.zeros_like(pairs[1])
    coarse = own_coarse(shape.n_bins)
    for site, one in rows.items():
        for label, mine, theirs, row in zip(one.labels, one.log_probabilities, one.baseline, one.attributes, strict=True):
            own_bin = int(coarse[sum(edge <= mine[1] - mine[0] for edge in edges[0])])
            their_bin = sum(edge <= theirs[1] - theirs[0] for edge in EDGES)
            for place, group in enumerate(shape.groups):
                values = {name: shape.audit.value_of(name, row[name]) for name, _ in group.pairs}
                if all(values[name] == value for name, value in group.pairs) and group.site in (None, site):
                    scores[0, place, 1 - label, their_bin] += 1
                    joint[0, place, 1 - label, own_bin, COARSE[their_bin]] += 1
    np.testing.assert_array_equal(pairs[0], scores)
    np.testing.assert_array_equal(pairs[1], joint)


def test_without_another_model_the_vector_is_what_it_was() -> None:
    rows, plain, paired = both(np.random.default_rng(2), 40), layout(), paired_layout()
    (_, first), (_, second) = summed(plain, rows), summed(paired, rows)
    assert plain.split_pairs(first) is None
    np.testing.assert_array_equal(first, second[: plain.size])
    assert paired.size - plain.size == len(plain.groups) * 2 * (SCORES + len(set(own_coarse(plain.n_bins))) * N_COARSE)


def test_coarse_bins_leave_no_bin_out_and_cut_at_even_odds() -> None:
    assert COARSE.shape == (SCORES,)
    assert set(np.diff(COARSE)) == {0, 1}
    assert (COARSE[0], COARSE[-1], COARSE[256] - COARSE[255]) == (0, N_COARSE - 1, 1)  # bin 256 begins at even odds
    assert EDGES[255] == 0.0
    np.testing.assert_array_equal(summed_by(np.ones(SCORES, dtype=np.int64), COARSE), np.bincount(COARSE))


def test_hospitals_asked_singly_add_up_to_the_same_sum() -> None:
    rows, shape = both(np.random.default_rng(3), 50), paired_layout()
    edges, total = summed(shape, rows)
    alone = {site: count_images(own_layout(shape, site), site, edges, one) for site, one in rows.items()}
    np.testing.assert_array_equal(added(shape, alone), total)
    check_counts(shape, total, tuple(rows))


@pytest.mark.parametrize("table", ["scores", "joint"])
@pytest.mark.parametrize("how", ["moved", "more", "negative", "one group"])
def test_counts_that_cannot_be_of_the_same_images_are_refused(table: str, how: str) -> None:
    rows, shape = both(np.random.default_rng(4), 50), paired_layout()
    total = summed(shape, rows)[1]
    counts, patients = shape.split(total)
    pairs = shape.split_pairs(total)
    assert pairs is not None
    changed = (pairs[0] if table == "scores" else pairs[1]).reshape(1, len(shape.groups), 2, -1)
    full = int(changed[0, 0, 0].argmax())
    every = slice(None) if how != "one group" else 0
    if how == "negative":
        changed[0, :, 0, -1] -= 1
    else:
        changed[0, every, 0, full] -= int(how != "more")
        changed[0, every, 0, 0 if full else -1] += 1
    with pytest.raises(EvaluationError):
        check_counts(shape, shape.join(counts, patients, pairs), tuple(rows))


def test_rows_without_scores_of_the_other_model_or_with_broken_ones_are_not_counted() -> None:
    rows, shape = both(np.random.default_rng(5), 30, sites=("a",)), paired_layout()
    edges = choose_edges(shape, pooled_grid(rows))
    with pytest.raises(EvaluationError, match="no scores of it"):
        count_images(shape, "a", edges, replace(rows["a"], baseline=None))
    broken = rows["a"].baseline.copy()
    broken[3] = np.nan
    with pytest.raises(EvaluationError, match="compare_with: a score of that model is not a number"):
        count_images(shape, "a", edges, replace(rows["a"], baseline=broken))


# ---------------------------------------------------------------------------------------------------------- differences


@pytest.mark.parametrize("alike", [0.3, 0.9])
@pytest.mark.parametrize(("spread", "shift"), [(1.0, 0.0), (0.4, -2.0), (8.0, 3.0)])
def test_the_difference_and_its_interval_are_those_of_the_pooled_rows(alike: float, spread: float, shift: float) -> None:
    """However far the other model's scores are spread, since no edges could be chosen for it."""
    rows = both(np.random.default_rng(6), 700, alike, spread=spread, shift=shift)
    labels, own, other, _ = everyone(rows)
    exact = paired_delong(labels, own, other)
    assert exact is not None
    group = audited(paired_layout(), rows)["versus_baseline"]["classes"][0]["groups"][0]
    found = group["auroc"]
    assert found["value"] == pytest.approx(exact[0] - exact[1], abs=0.0015)
    assert group["baseline"]["auroc"]["value"] == pytest.approx(exact[1], abs=0.0015)
    width = 2 * Z95 * np.sqrt(exact[2][0, 0] + exact[2][1, 1] - 2 * exact[2][0, 1])
    assert 0.99 * width < found["hi"] - found["lo"] < 1.2 * width  # coarse bins may widen it, not shorten it
    assert found["method"] == PAIRED
    gained = group["average_precision"]
    assert gained["value"] == pytest.approx(
        average_precision_score(labels, own) - average_precision_score(labels, other), abs=0.01
    )


def test_the_interval_of_average_precision_is_that_of_resampled_patients() -> None:
    rng = np.random.default_rng(7)
    rows = both(rng, 500, 0.8)
    labels, own, other, _ = everyone(rows)
    drawn = []
    for _ in range(400):
        some = rng.integers(0, len(labels), len(labels))
        drawn.append(average_precision_score(labels[some], own[some]) - average_precision_score(labels[some], other[some]))
    found = audited(paired_layout(), rows)["versus_baseline"]["classes"][0]["groups"][0]["average_precision"]
    assert found["hi"] - found["lo"] == pytest.approx(2 * Z95 * np.std(drawn), rel=0.2)


def test_where_two_models_are_alike_the_paired_interval_is_clearly_the_shorter() -> None:
    rows = both(np.random.default_rng(8), 500, 0.9)
    audit = audited(paired_layout(), rows)
    own = {(one["attribute"], one["value"]): one for one in audit["classes"][0]["groups"]}
    several = 0
    for group in audit["versus_baseline"]["classes"][0]["groups"]:
        if group["auroc"]["value"] is None:
            continue
        several += 1
        one, other = own[group["attribute"], group["value"]]["auroc"], group["baseline"]["auroc"]
        apart = np.hypot(one["hi"] - one["lo"], other["hi"] - other["lo"])
        assert group["auroc"]["hi"] - group["auroc"]["lo"] < 0.6 * apart
    assert several > 8  # everyone, three hospitals, sexes, ages


def test_a_model_beside_itself_shows_no_clear_difference() -> None:
    rows = {site: replace(one, baseline=one.log_probabilities) for site, one in both(np.random.default_rng(9), 400).items()}
    for group in audited(paired_layout(), rows)["versus_baseline"]["classes"][0]["groups"]:
        if group["auroc"]["value"] is not None:
            assert abs(group["auroc"]["value"]) < 0.003  # two kinds of bins
            assert group["auroc"]["verdict"] == "no_clear_difference"


def test_a_better_model_is_better_and_a_worse_one_worse() -> None:
    rows = both(np.random.default_rng(10), 700, 0.9)
    better, worse = (
        audited(paired_layout(), each)["versus_baseline"]["classes"][0]["groups"][0]["auroc"] for each in (rows, swapped(rows))
    )
    assert (better["verdict"], worse["verdict"]) == ("better", "worse")
    assert better["value"] == pytest.approx(-worse["value"], abs=0.002)


def test_several_images_of_a_patient_widen_the_interval_at_least_as_much_as_by_patient() -> None:
    rng = np.random.default_rng(11)
    rows = both(rng, 900, 0.7, images=3)
    for site, one in rows.items():  # images of a patient all alike, under both models
        first = one.patients * 3
        rows[site] = replace(one, log_probabilities=one.log_probabilities[first], baseline=one.baseline[first])
    labels, own, other, patients = everyone(rows)
    exact = paired_delong(labels, own, other, patients)
    assert exact is not None
    found = audited(paired_layout(), rows)["versus_baseline"]["classes"][0]["groups"][0]["auroc"]
    width = 2 * Z95 * np.sqrt(exact[2][0, 0] + exact[2][1, 1] - 2 * exact[2][0, 1])
    assert 0.97 * width < found["hi"] - found["lo"] < 1.3 * width


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), alike=st.floats(0.0, 1.0), n=st.integers(20, 120), spread=st.floats(0.2, 30.0))
def test_every_difference_is_that_of_its_two_figures_and_no_interval_is_empty(
    seed: int, alike: float, n: int, spread: float
) -> None:
    audit = audited(paired_layout(smallest_cell=1), both(np.random.default_rng(seed), n, alike, spread=spread))
    for one, group in zip(audit["classes"][0]["groups"], audit["versus_baseline"]["classes"][0]["groups"], strict=True):
        for figure in ("auroc", "average_precision"):
            found = group[figure]
            if found["value"] is None:
                assert (found["lo"], found["hi"], found["verdict"]) == (None, None, "not_estimable")
                continue
            assert found["value"] == pytest.approx(one[figure]["value"] - group["baseline"][figure]["value"], abs=2e-6)
            assert -1.0 <= found["lo"] <= found["value"] <= found["hi"] <= 1.0
            assert found["lo"] < found["hi"]
            assert found["method"] in (PAIRED, UNPAIRED)


def test_each_of_several_classes_is_paired_against_the_rest() -> None:
    rng = np.random.default_rng(16)
    n, names = 900, ["x", "y", "z"]
    labels = rng.integers(0, 3, n)
    own = rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[labels]
    other = own + rng.normal(size=(n, 3)) * 0.8
    rows = {"a": Rows(labels, own, np.arange(n), attributes(rng, n), other)}
    shape = paired_layout(3, sites=("a",))
    edges, total = summed(shape, rows, 3)
    check_counts(shape, total, ("a",))
    with mock.patch.object(content, "fairness_entry", return_value=None):
        found = content.audit_content(shape, names, edges, total, ["a"], None)["versus_baseline"]
    assert [one["name"] for one in found["classes"]] == names
    for index, one in enumerate(found["classes"]):
        exact = paired_delong((labels == index).astype(int), log_odds(own, index), log_odds(other, index))
        assert exact is not None
        everyone_ = one["groups"][0]["auroc"]
        width = 2 * Z95 * np.sqrt(exact[2][0, 0] + exact[2][1, 1] - 2 * exact[2][0, 1])
        assert everyone_["value"] == pytest.approx(exact[0] - exact[1], abs=0.0015)
        assert everyone_["hi"] - everyone_["lo"] == pytest.approx(width, rel=0.15)


def test_perfect_models_are_compared_as_unpaired() -> None:
    rows = both(np.random.default_rng(12), 60, sites=("a",))
    perfect = logs(np.where(rows["a"].labels == 1, 3.0, -3.0) + np.linspace(0, 1, 60))
    rows = {"a": replace(rows["a"], log_probabilities=perfect, baseline=perfect)}
    group = audited(paired_layout(), rows)["versus_baseline"]["classes"][0]["groups"][0]
    assert roc_auc_score(rows["a"].labels, perfect[:, 1]) == 1.0
    assert (group["auroc"]["method"], group["auroc"]["verdict"]) == (UNPAIRED, "no_clear_difference")
    assert group["average_precision"]["method"] == UNPAIRED


# -------------------------------------------------------------------------------------------------------- what is hidden


def test_a_withheld_group_has_no_difference_and_nothing_of_the_tables_is_told() -> None:
    rng = np.random.default_rng(13)
    rows = both(rng, 200)
    rare = [{**one, "sex": "O" if index < 5 else one["sex"]} for index, one in enumerate(rows["a"].attributes)]
    rows["a"] = replace(rows["a"], attributes=rare)
    audit = audited(paired_layout(), rows)
    hidden = {(one["attribute"], one["value"]) for one in audit["classes"][0]["groups"] if one["status"] == "suppressed"}
    assert ("sex", "O") in hidden
    assert len(hidden) > 1  # and who would give it away
    for group in audit["versus_baseline"]["classes"][0]["groups"]:
        if (group["attribute"], group["value"]) in hidden:
            assert group["auroc"]["value"] is group["average_precision"]["value"] is None
            assert group["baseline"]["auroc"]["status"] == "suppressed"
        assert set(group) == {"attribute", "value", "baseline", "auroc", "average_precision"}


def test_scores_that_lie_in_few_of_the_fixed_bins_are_not_compared() -> None:
    rows = both(np.random.default_rng(14), 300, spread=0.02)
    group = audited(paired_layout(), rows)["versus_baseline"]["classes"][0]["groups"][0]
    assert group["auroc"]["value"] is None
    assert group["baseline"]["auroc"]["why"] == "tied_in_bins"


def test_a_hospital_that_took_no_part_says_so() -> None:
    rows = both(np.random.default_rng(15), 200, sites=("a", "b"))
    groups = audited(paired_layout(), rows)["versus_baseline"]["classes"][0]["groups"]
    assert next(one for one in groups if one["value"] == "c")["baseline"]["auroc"]["why"] == "took_no_part"
