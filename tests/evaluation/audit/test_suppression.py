"""Nobody who reads the released audit can work out a cell of few patients, whatever sums the reader solves for."""

from __future__ import annotations

import itertools
from unittest import mock

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from evaluation.audit.content import audit_content
from evaluation.audit.counting import TestRows as Rows
from evaluation.audit.patients import least_patients
from evaluation.audit.protection import Relation, Table, determined, withheld
from evaluation.audit.release import released
from tests.evaluation.audit.made_up_rows import hospitals, layout, logs, summed

K = 4
SEXES, AGES, POINTS = ("F", "M", "unknown"), (30, 70), (0.3, 0.6)
SCORES = (-3.0, 0.0, 3.0)  # below, between and above the operating points
ATOMS = tuple(itertools.product(("a", "b"), SEXES, AGES, (1, 0), SCORES))


def made(numbers: list[int]):
    """A released audit of so many patients of each site, sex, age, label and score, and its layout."""
    rows = {}
    for site in ("a", "b"):
        mine = [(atom, n) for atom, n in zip(ATOMS, numbers, strict=True) if atom[0] == site]
        each = [atom for atom, n in mine for _ in range(n)]
        values = [{"sex": None if sex == "unknown" else sex, "age": age} for _, sex, age, _, _ in each]
        odds = np.array([score for *_, score in each], dtype=float)
        labels = np.array([label for *_, label, _ in each], dtype=np.int64)
        rows[site] = Rows(labels, logs(odds), np.arange(len(each)), values)
    shape = layout(
        sites=("a", "b"), age_edges=(50,), intersections=(("sex", "age"),), operating_points=POINTS, smallest_cell=K, bins=16
    )
    edges, vector = summed(shape, rows)
    with mock.patch("evaluation.audit.content.fairness_entry", return_value=None):  # for time: it shows shown groups only
        return shape, audit_content(shape, ["finding"], edges, vector, ("a", "b"), None)


def belongs(attribute: str, value: str, atom) -> bool:
    site, sex, age, _, _ = atom
    band = "0-49" if age < 50 else "50+"
    return value == {"all": "all", "site": site, "sex": sex, "age": band, "sex × age": f"{sex} × {band}"}[attribute]


def cells(group, numbers):
    """Every cell of a group: its name, the atoms in it (0/1) and how many patients it has."""
    mine = np.array([belongs(group["attribute"], group["value"], atom) for atom in ATOMS], dtype=float)
    for label in (1, 0):
        of_label = mine * [atom[3] == label for atom in ATOMS]
        yield ("label", label), of_label, float(of_label @ numbers)
        for position, point in enumerate((-0.8, 0.4)):  # log-odds of the operating points lie between the scores
            called = of_label * [atom[4] > point for atom in ATOMS]
            yield (position, label, "called"), called, float(called @ numbers)
            yield (position, label, "not called"), of_label - called, float((of_label - called) @ numbers)


def published(content, numbers):
    """What the released audit says, as (atoms, number) equations; whatever a share and its whole give away included."""
    known = [(np.ones(len(ATOMS)), float(sum(numbers)))] if content["groups"][0]["n"] is not None else []
    for group in content["groups"]:
        shown = {("label", 1), ("label", 0)} if group["n"] is not None else set()
        for position, point in enumerate(group["operating_points"]):
            for rate, label in (("sensitivity", 1), ("specificity", 0)):
                if point[rate]["status"] != "suppressed" and group["n"] is not None:
                    shown |= {(position, label, "called"), (position, label, "not called")}
            for rate in ("ppv", "npv"):
                if point[rate]["value"] is not None:
                    shown |= {(position, label, said) for label in (1, 0) for said in ("called", "not called")}
        known += [(atoms, number) for name, atoms, number in cells(group, numbers) if name in shown]
    return known


def attacked(content, numbers) -> list[str]:
    """The small cells that the released audit leaves only one number for, by linear programming over all tables >= 0."""
    known = published(content, numbers)
    if not known:
        return []
    matrix, right = np.array([atoms for atoms, _ in known]), np.array([number for _, number in known])
    found = []
    for group in content["groups"]:
        for name, atoms, number in cells(group, numbers):
            if 1 <= number < K:
                ends = [linprog(sign * atoms, A_eq=matrix, b_eq=right, bounds=(0, None), method="highs") for sign in (1, -1)]
                assert all(one.status in (0, 3) for one in ends)
                least, most = ends[0].fun, -ends[1].fun if ends[1].status == 0 else np.inf
                if most - least < 0.5:
                    found.append(f"{group['attribute']} {group['value']} {name}: {number}")
    return found


tables = st.lists(st.one_of(st.just(0), st.integers(0, 3), st.integers(0, 30)), min_size=len(ATOMS), max_size=len(ATOMS))


@given(tables)
@settings(max_examples=12, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))  # shrinking takes hours
@example([9] * len(ATOMS))
@example([1 if atom[1] == "unknown" and atom[4] == 3.0 else 12 for atom in ATOMS])
@example([0 if atom[1] == "unknown" else 2 if atom[1] == "M" and atom[0] == "a" and atom[4] == 0.0 else 20 for atom in ATOMS])
def test_no_small_cell_can_be_solved_for(numbers):
    _, content = made(numbers)
    assert attacked(content["classes"][0], np.array(numbers, dtype=float)) == []


@given(tables)
@settings(max_examples=15, deadline=None)
def test_no_small_cell_is_shown_and_no_share_of_one(numbers):
    _, content = made(numbers)
    for group in content["classes"][0]["groups"]:
        values = {name: number for name, _, number in cells(group, np.array(numbers, dtype=float))}
        if any(0 < values["label", label] < K for label in (1, 0)):
            assert (group["n"], group["events"], group["status"]) == (None, None, "suppressed")
            assert group["auroc"]["value"] is None
        for position, point in enumerate(group["operating_points"]):
            small = {label: any(0 < values[position, label, said] < K for said in ("called", "not called")) for label in (1, 0)}
            assert not (small[1] and point["sensitivity"]["value"] is not None)
            assert not (small[0] and point["specificity"]["value"] is not None)
            assert not ((small[0] or small[1]) and (point["ppv"]["value"] is not None or point["npv"]["value"] is not None))


@given(tables)
@settings(max_examples=15, deadline=None)
def test_the_curves_add_up_to_no_small_cell(numbers):
    _, content = made(numbers)
    shown = content["classes"][0]["score_distribution"]
    if shown is not None:
        for label in ("positive", "negative"):
            assert all(n == 0 or n >= K for n in shown[label])
            assert len(shown[label]) == len(shown["edges"]) + 1
        assert shown["edges"] == sorted(set(shown["edges"]))


def test_the_attack_succeeds_where_the_complement_is_not_withheld():
    """The attacker of these tests can do what it is there to do."""
    numbers = [12 if atom[1] != "unknown" or atom[3] == 0 else int(atom[0] == "a" and atom[4] == 3.0) for atom in ATOMS]
    _, content = made(numbers)
    naive = content["classes"][0]
    for group in naive["groups"]:
        exact = {name: number for name, _, number in cells(group, np.array(numbers, dtype=float))}
        if all(exact["label", label] >= K for label in (1, 0)):
            group["n"], group["events"] = exact["label", 1] + exact["label", 0], exact["label", 1]
    assert any("sex unknown" in cell for cell in attacked(naive, np.array(numbers, dtype=float)))


@pytest.mark.parametrize("seed", [17, 31, 53])
def test_what_follows_from_counts_not_being_negative_is_withheld_too(seed):
    """Tables with many zeros, in which no sum gives a small cell away, but sums and zeros together do."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, len(ATOMS))
    few, many = rng.integers(0, 4, len(ATOMS)), rng.integers(0, 31, len(ATOMS))
    numbers = np.where(kind == 0, 0, np.where(kind == 1, few, many))
    with mock.patch("evaluation.audit.release._Shape.close"):
        _, sums_only = made(numbers.tolist())
    assert attacked(sums_only["classes"][0], numbers.astype(float))
    _, content = made(numbers.tolist())
    assert attacked(content["classes"][0], numbers.astype(float)) == []


def test_with_one_group_withheld_the_next_smallest_is_too():
    relation = Relation(0, (1, 2, 3))
    images = np.array([[100], [50], [47], [3]])
    hidden, small = withheld(Table(images, images, (relation,), 11))
    assert hidden.tolist() == [False, False, True, True]
    assert small.tolist() == [False, False, False, True]


def test_groups_that_are_small_together_take_another_with_them():
    images = np.array([[110], [50], [47], [4], [3], [6]])
    hidden, _ = withheld(Table(images, images, (Relation(0, (1, 2, 3, 4)), Relation(0, (1, 2, 3, 4, 5))), 11))
    assert hidden[2]


def test_elimination_finds_what_no_single_sum_gives_away():
    """Rows a+b, c+d+e; columns a+c, b+d, e: two squares that share no corner leave nothing; a bridge is determined."""
    relations = (Relation(5, (0, 1)), Relation(6, (2, 3, 4)), Relation(7, (0, 2)), Relation(8, (1, 3)))
    hidden = np.array([True] * 5 + [False] * 4)
    assert determined(relations, hidden) == [4]  # (c+d+e) - (a+c) - (b+d) + (a+b)


def test_more_is_withheld_until_elimination_gives_no_small_cell_away():
    relations = (Relation(5, (0, 1)), Relation(6, (2, 3, 4)), Relation(7, (0, 2)), Relation(8, (1, 3)))
    images = np.array([[20], [20], [20], [20], [3], [40], [43], [40], [40]])
    also = np.array([True] * 4 + [False] * 5)
    hidden, small = withheld(Table(images, images, relations, 11), also)
    assert small.tolist() == [False] * 4 + [True] + [False] * 4
    assert hidden[:5].all()
    assert 4 not in determined(relations, hidden)


@pytest.mark.parametrize("n", [30, 60, 150, 600])
def test_curves_of_real_scores_keep_to_the_smallest_cell(n):
    shape = layout()
    for seed in range(5):
        edges, vector = summed(shape, hospitals(np.random.default_rng(seed), n))
        one = audit_content(shape, ["finding"], edges, vector, ("a", "b", "c"), None)["classes"][0]
        shown = one["score_distribution"]
        assert all(count == 0 or count >= 11 for label in ("positive", "negative") for count in shown[label])
        thresholds = {point["threshold"] for point in one["decision_curve"] if point["model"]["value"] is not None}
        assert {round(edge, 6) for edge in thresholds} <= set(shown["edges"])
        if n < 100:
            assert len(thresholds) < len(one["decision_curve"])


def test_patients_count_as_well_as_images():
    """A hundred images of five women."""
    rng = np.random.default_rng(21)
    rows = hospitals(rng, 600, ("a",))["a"]
    values = [{"sex": "F" if index < 200 else "M", "age": 50} for index in range(600)]
    few = np.where(np.arange(600) < 200, np.arange(600) % 5, np.arange(600))
    shape = layout(sites=("a",))
    shown = {}
    for name, patients in (("few", few), ("many", np.arange(600))):
        edges, vector = summed(shape, {"a": Rows(rows.labels, rows.log_probabilities, patients, values)})
        groups = audit_content(shape, ["finding"], edges, vector, ["a"], None)["classes"][0]["groups"]
        shown[name] = {one["value"]: one["status"] for one in groups if one["attribute"] == "sex"}
    assert shown["few"]["F"] == shown["few"]["M"] == "suppressed"
    assert shown["many"]["F"] != "suppressed"


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(0, 2**9 - 1))
@settings(max_examples=300, deadline=None)
def test_a_cell_never_has_fewer_patients_than_is_said(images, chosen):
    """Whole patients are in the cell: the hardest case, since a patient with images elsewhere too makes it more patients."""
    mine = [m for index, m in enumerate(images) if chosen >> index & 1]
    squares = sum(m * m for m in images)
    found = least_patients(*(np.array([x]) for x in (sum(mine), sum(images), len(images), squares)))
    assert found[0] <= len(mine)
    if all(m == 1 for m in images):
        assert found[0] == len(mine)


def test_with_several_classes_the_last_class_of_a_group_cannot_be_subtracted():
    """Three classes share the images of a group: two of them and the whole give the third away."""
    labels = np.repeat([0, 1, 2], [60, 60, 63])
    values = [{"sex": "M" if index % 2 else "F", "age": 50} for index in range(180)] + [{"sex": None, "age": 50}] * 3
    rng = np.random.default_rng(22)
    rows = {"a": Rows(labels, rng.normal(size=(183, 3)), np.arange(183), values)}
    shape = layout(3, sites=("a",))
    edges, vector = summed(shape, rows, 3)
    release = released(shape, edges, vector)
    place = {(one.attribute, one.value): index for index, one in enumerate(shape.groups)}
    unknown = place["sex", "unknown"]
    assert not release.groups[2, unknown]
    for index in range(3):
        hidden = [value for value in ("F", "M", "O", "unknown") if not release.groups[index, place["sex", value]]]
        assert len(hidden) != 1
    assert (~release.groups[:, unknown]).sum() != 1


def test_under_privacy_nothing_is_withheld_for_being_small():
    shape = layout(private=True)
    from evaluation.audit.edges import choose_edges

    release = released(shape, choose_edges(shape), np.ones(shape.size, dtype=np.int64))
    assert release.groups.all()
    assert release.rates.all()


def test_a_smallest_cell_of_one_withholds_nothing():
    shape = layout(smallest_cell=1)
    edges, vector = summed(shape, hospitals(np.random.default_rng(23), 40))
    assert released(shape, edges, vector).groups.all()
    with pytest.raises(AssertionError):
        assert released(layout(), edges, vector).groups.all()
