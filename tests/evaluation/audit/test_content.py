"""report.json's `audit`: its shape, and that anyone who has the sum gets the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.audit.content import audit_content
from evaluation.audit.counting import count_votes
from evaluation.audit.differencing import differs_by_few
from evaluation.audit.edges import choose_edges
from protocol.errors import EvaluationError
from tests.evaluation.audit.made_up_rows import SITES, hospitals, layout, summed

ESTIMATE = {"value", "lo", "hi", "method", "n_band", "status"}


@pytest.fixture(scope="module")
def made():
    shape = layout(intersections=(("sex", "age"),), smallest_cell=11)
    edges, vector = summed(shape, hospitals(np.random.default_rng(41), 700))
    return shape, edges, vector


def content(made, sites=SITES):
    shape, edges, vector = made
    return audit_content(shape, ["finding"], edges, vector, sites, None)


def estimates(value):
    """Every estimate in a piece of JSON."""
    if isinstance(value, dict):
        if set(value) >= ESTIMATE:
            yield value
        else:
            for one in value.values():
                yield from estimates(one)
    elif isinstance(value, list):
        for one in value:
            yield from estimates(one)


def test_it_is_the_same_for_whoever_has_the_sum_and_plain_json(made):
    one, two = (json.dumps(content(made), allow_nan=False, sort_keys=True) for _ in range(2))
    assert one == two


def test_every_estimate_has_figures_or_says_why_not(made):
    found = list(estimates(content(made)["classes"])) + list(estimates(content(made)["missingness"]))
    assert len(found) > 100
    assert {one["status"] for one in found} >= {"ok", "wide", "suppressed"}
    for one in found:
        if one["status"] in ("ok", "wide"):
            assert one["lo"] <= one["value"] <= one["hi"]
        else:
            assert (one["value"], one["lo"], one["hi"]) == (None, None, None)
            assert one["why"]


def test_a_suppressed_group_tells_nothing_not_even_its_size(made):
    groups = content(made)["classes"][0]["groups"]
    hidden = [one for one in groups if one["status"] == "suppressed"]
    assert hidden
    for one in hidden:
        assert {one["n"], one["events"]} == {None}
        assert one["n_band"] == "not shown"
        assert all(each["value"] is None and each["n_band"] == "not shown" for each in estimates(one))


def test_the_groups_are_those_of_the_layout_in_its_order(made):
    groups = content(made)["classes"][0]["groups"]
    assert [(one["attribute"], one["value"]) for one in groups] == [(one.attribute, one.value) for one in made[0].groups]
    assert ("sex × age", "F × 80+") in [(one["attribute"], one["value"]) for one in groups]


def test_a_hospital_that_is_not_in_the_sum_took_no_part():
    shape = layout()
    rows = hospitals(np.random.default_rng(42), 500)
    del rows["c"]
    edges, vector = summed(shape, rows)
    groups = audit_content(shape, ["finding"], edges, vector, ("a", "b"), None)["classes"][0]["groups"]
    absent = next(one for one in groups if one["value"] == "c")
    assert (absent["status"], absent["why"], absent["n"]) == ("not_estimable", "took_no_part", None)


def test_without_a_sum_the_reason_stands_there(made):
    shape, edges, _ = made
    found = audit_content(shape, ["finding"], edges, None, [], "fewer than three hospitals answered")
    assert found["reason"] == "fewer than three hospitals answered"
    assert (found["classes"], found["fairness"], found["missingness"]) == ([], None, [])
    assert found["thresholds"] == {"operating_points": [0.5], "decision": list(shape.audit.decision_thresholds)}


def test_the_share_of_unknown_values_is_that_of_the_images():
    shape = layout(smallest_cell=1)
    rows = hospitals(np.random.default_rng(43), 500)
    edges, vector = summed(shape, rows)
    found = {one["attribute"]: one["unknown"] for one in audit_content(shape, ["x"], edges, vector, SITES, None)["missingness"]}
    unknown = np.mean([one["sex"] is None for part in rows.values() for one in part.attributes])
    assert found["sex"]["value"] == pytest.approx(unknown, abs=1e-6)
    assert found["age"]["value"] == 0.0


def test_names_and_sums_of_another_plan_are_refused(made):
    shape, edges, vector = made
    with pytest.raises(EvaluationError, match="names"):
        audit_content(shape, ["one", "two"], edges, vector, SITES, None)
    with pytest.raises(EvaluationError, match="counts"):
        audit_content(shape, ["finding"], edges, vector[:-1], SITES, None)


@given(st.integers(0, 2**32), st.integers(1, 120), st.integers(1, 4), st.floats(0.0, 1.0), st.sampled_from([0.01, 1.0, 40.0]))
@settings(max_examples=25, deadline=None)
def test_any_cohort_however_small_or_odd_gives_a_content(seed, n, images, prevalence, scale):
    rows = hospitals(np.random.default_rng(seed), n, images=images, prevalence=prevalence, scale=scale)
    shape, private = layout(), layout(private=True)
    edges, vector = summed(shape, rows)
    found = [audit_content(shape, ["x"], edges, vector, SITES, None)]
    fixed = choose_edges(private)
    votes = np.sum([count_votes(private, site, fixed, one, lambda k: 0) for site, one in rows.items()], axis=0)
    found.append(audit_content(private, ["x"], fixed, votes, SITES, None))
    for content in found:
        json.dumps(content, allow_nan=False)
        for one in estimates(content["classes"]):
            assert one["value"] is None or one["lo"] <= one["value"] <= one["hi"]


def _released(n_left_out: int, k: int = 11):
    """The same cohort, without the first women of hospital a who are healthy."""
    shape = layout(decision_thresholds=(), smallest_cell=k)
    rows = hospitals(np.random.default_rng(44), 700)
    one = rows["a"]
    women = [row for row in range(700) if one.attributes[row]["sex"] == "F" and one.labels[row] == 0][:n_left_out]
    kept = np.delete(np.arange(700), women)
    rows["a"] = type(one)(
        one.labels[kept], one.log_probabilities[kept], one.patients[kept], [one.attributes[row] for row in kept]
    )
    edges, vector = summed(shape, rows)
    return audit_content(shape, ["finding"], edges, vector, SITES, None)


@pytest.mark.parametrize("few", [1, 4, 10])
def test_two_releases_that_differ_by_a_few_patients_are_named(few):
    named = differs_by_few(_released(0), _released(few), 11)
    assert "finding: sex F, negatives" in named
    assert "finding: all all, images" in named
    assert "finding: site a, images" in named
    assert not any(one.endswith(", positives") for one in named)
    assert not any("site b" in one for one in named)


def test_two_releases_that_differ_by_many_or_by_nobody_are_not():
    first = _released(0)
    assert differs_by_few(first, first, 11) == ()
    assert not any(
        "images" in one or one.endswith("negatives") for one in differs_by_few(first, _released(60), 11) if "site" in one
    )


def test_noised_releases_have_no_numbers_to_subtract():
    first, second = _released(0), _released(4)
    assert differs_by_few(first | {"epsilon": 3.0}, second | {"epsilon": 3.0}, 11) == ()
