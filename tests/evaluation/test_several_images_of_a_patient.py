"""Several images of one patient: Obuchowski's variance against its definition, against plain DeLong, and by simulation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from evaluation.comparison import compare
from evaluation.delong import delong, paired_delong
from evaluation.measured import Measured
from evaluation.metrics import auroc_estimate
from evaluation.report.build import build_report
from evaluation.scoring import class_scores
from protocol.errors import EvaluationError
from silo_node import scoring
from silo_node.splits import Parts
from silo_node.training.cohort import Cohort, load_cohort
from tests.conftest import MakePlan, MakeStore
from tests.evaluation.made_up_runs import draw_rows, make_summary

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
CASES = st.lists(st.tuples(st.booleans(), st.integers(-6, 6), st.integers(-6, 6), st.integers(0, 9)), min_size=4, max_size=50)
LABELS, SCORES = np.array([1, 0, 1, 0]), np.array([4.0, 1.0, 2.0, 3.0])


def draw(
    rng: np.random.Generator,
    n_patients: int,
    per_patient: int,
    *,
    auroc: float = 0.8,
    alike: float = 0.6,
    rho: float = 0.9,
    mixed: float = 0.0,
) -> Rows:
    """Labels, scores of two equally good models correlated by `rho`, and patients, 40% of them ill.

    Scores of one patient's images are correlated by `alike`; a share `mixed` of the images has the other label.
    """
    patients = np.repeat(np.arange(n_patients), per_patient)
    ill = np.arange(n_patients) < round(0.4 * n_patients)
    labels = (ill[patients] ^ (rng.random(len(patients)) < mixed)).astype(int)
    root = np.linalg.cholesky([[1.0, rho], [rho, 1.0]]).T
    scores = np.sqrt(alike) * (rng.normal(size=(n_patients, 2)) @ root)[patients]
    scores += np.sqrt(1 - alike) * (rng.normal(size=(len(patients), 2)) @ root)
    scores += labels[:, None] * np.sqrt(2) * norm.ppf(auroc)
    return labels, scores[:, 0], scores[:, 1], patients


def by_definition(labels: np.ndarray, first: np.ndarray, second: np.ndarray, patients: np.ndarray) -> float:
    """Obuchowski 1997, sum by sum, over all pairs of images."""
    v10, v01, theta = [], [], []
    for one in (first, second):
        psi = [[(x > y) + 0.5 * (x == y) for y in one[labels == 0]] for x in one[labels == 1]]
        v10.append(np.mean(psi, axis=1))
        v01.append(np.mean(psi, axis=0))
        theta.append(np.mean(psi))
    m, n = (labels == 1).sum(), (labels == 0).sum()
    s10 = s01 = s11 = s11_turned = 0.0
    ill, well = patients[labels == 1], patients[labels == 0]
    for patient in set(patients):
        x = [(v10[r][ill == patient] - theta[r]).sum() for r in (0, 1)]
        y = [(v01[r][well == patient] - theta[r]).sum() for r in (0, 1)]
        s10, s01 = s10 + x[0] * x[1], s01 + y[0] * y[1]
        s11, s11_turned = s11 + x[0] * y[1], s11_turned + x[1] * y[0]
    i10, i01, i = len(set(ill)), len(set(well)), len(set(patients))
    s10, s01 = s10 * i10 / ((i10 - 1) * m), s01 * i01 / ((i01 - 1) * n)
    return s10 / m + s01 / n + (s11 + s11_turned) * i / (i - 1) / (m * n)


def difference(covariance: np.ndarray) -> float:
    return covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]


# -------------------------------------------------------------------------------------------------------------- the formula


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("mixed", [0.0, 0.3])
def test_covariance_is_that_of_the_definition(mixed, ties):
    labels, first, second, patients = draw(np.random.default_rng(5), 30, 4, mixed=mixed)
    keep = np.random.default_rng(6).random(len(labels)) < 0.7  # so that patients have unlike numbers of images
    labels, first, second, patients = labels[keep], first[keep], second[keep], patients[keep]
    if ties:
        first, second = np.round(first * 2), np.round(second)
    a, b, covariance = paired_delong(labels, first, second, patients)
    assert covariance[0, 1] == covariance[1, 0] == pytest.approx(by_definition(labels, first, second, patients), rel=1e-10)
    assert (a, covariance[0, 0]) == delong(labels, first, patients)
    assert covariance[0, 0] == pytest.approx(by_definition(labels, first, first, patients), rel=1e-10)
    assert covariance[1, 1] == pytest.approx(by_definition(labels, second, second, patients), rel=1e-10)
    assert (a, b) == (delong(labels, first)[0], delong(labels, second)[0])


@settings(max_examples=80, deadline=None)
@given(CASES, st.randoms(use_true_random=False))
def test_where_every_patient_has_one_image_it_is_plain_delong(cases, random):
    labels, first, second, _ = (np.array(column) for column in zip(*cases, strict=True))
    if not 1 < labels.sum() < len(labels) - 1:
        return
    assert delong(labels, first, np.arange(len(labels))) == delong(labels, first)
    names = np.array(random.sample(range(-1000, 1000), len(labels)))
    plain, by_patient = paired_delong(labels, first, second), paired_delong(labels, first, second, names)
    assert by_patient[:2] == plain[:2]
    assert by_patient[2] == pytest.approx(plain[2], rel=1e-11, abs=1e-15)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3]))
def test_neither_names_nor_order_matter(seed, mixed):
    rng = np.random.default_rng(seed)
    labels, first, second, patients = draw(rng, 20, 3, mixed=mixed)
    renamed, order = rng.permutation(5000)[patients] - 2500, rng.permutation(len(labels))
    found = paired_delong(labels[order], first[order], second[order], renamed[order])
    expected = paired_delong(labels, first, second, patients)
    assert found[:2] == pytest.approx(expected[:2], abs=1e-12)
    assert found[2] == pytest.approx(expected[2], rel=1e-9, abs=1e-15)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_copies_of_the_images_tell_nothing_new(seed, copies):
    labels, first, second, patients = draw(np.random.default_rng(seed), 30, 1)
    many = [np.tile(column, copies) for column in (labels, first, second, patients)]
    assert paired_delong(*many)[2] == pytest.approx(paired_delong(labels, first, second)[2], rel=1e-9, abs=1e-15)


@settings(max_examples=80, deadline=None)
@given(CASES)
def test_no_variance_is_negative_and_no_covariance_impossible(cases):
    labels, first, second, patients = (np.array(column) for column in zip(*cases, strict=True))
    found = paired_delong(labels, first, second, patients)
    enough = min(len(np.unique(patients[labels])), len(np.unique(patients[~labels]))) >= 2
    assert (found is not None) == enough
    if found is not None:
        covariance = found[2]
        assert min(covariance[0, 0], covariance[1, 1]) >= 0.0
        assert difference(covariance) >= -1e-12
        assert abs(covariance[0, 1]) <= np.sqrt(covariance[0, 0] * covariance[1, 1]) + 1e-12


def test_models_that_rank_alike_differ_by_exactly_nothing():
    labels, first, _, patients = draw(np.random.default_rng(3), 30, 4, mixed=0.2)
    assert difference(paired_delong(labels, first, np.exp(first), patients)[2]) == 0.0


def test_images_of_one_patient_cannot_stand_for_a_class():
    assert delong(LABELS, SCORES, np.array([7, 1, 7, 2])) is None
    assert delong(LABELS, SCORES, np.array([7, 1, 8, 1])) is None
    assert delong(LABELS, SCORES, np.array([7, 7, 8, 8])) is not None
    assert paired_delong(LABELS, SCORES, -SCORES, np.array([7, 1, 7, 2])) is None
    assert delong(np.zeros(0, int), np.zeros(0), np.zeros(0, int)) is None


@pytest.mark.parametrize("patients", [[1, 2, 3], [[1, 2, 3, 4]], [1.0, 2.0, 3.0, 4.0], ["a", "b", "c", "d"]])
def test_patients_that_are_not_one_number_a_row_are_refused(patients):
    with pytest.raises(EvaluationError, match="one integer code a row"):
        delong(LABELS, SCORES, np.array(patients))


# -------------------------------------------------------------------------------------------------------------- simulations

DESIGNS = pytest.mark.parametrize(
    ("n_patients", "per_patient", "design"),
    [(50, 4, {"alike": 0.6}), (50, 4, {"alike": 0.3}), (60, 4, {"mixed": 0.15}), (60, 3, {"auroc": 0.9})],
)


def share(hit: Callable[[Rows, np.ndarray | None], bool], n_patients: int, per_patient: int, design: dict) -> list[float]:
    """How often `hit` is true over 600 draws: images taken as independent, and with patients known."""
    rng, hits = np.random.default_rng(31), np.zeros(2)
    for _ in range(600):
        rows = draw(rng, n_patients, per_patient, **design)
        hits += hit(rows, None), hit(rows, rows[3])
    return list(hits / 600)


@DESIGNS
def test_interval_covers_the_truth_where_plain_delong_falls_short(n_patients, per_patient, design):
    auroc = design.get("auroc", 0.8)

    def covered(rows: Rows, patients: np.ndarray | None) -> bool:
        n_positive = int(rows[0].sum())
        estimate = auroc_estimate(*delong(rows[0], rows[1], patients), n_positive, len(rows[0]) - n_positive)
        return estimate.lo <= auroc <= estimate.hi

    plain, by_patient = share(covered, n_patients, per_patient, design)
    assert 0.93 <= by_patient <= 0.97
    assert plain < 0.89


@DESIGNS
def test_equal_models_are_called_different_about_5_times_in_100(n_patients, per_patient, design):
    def called_different(rows: Rows, patients: np.ndarray | None) -> bool:
        n = int(rows[0].sum()), int((1 - rows[0]).sum())
        a, b, covariance = paired_delong(*rows[:3], patients)
        pair = Measured(a, covariance[0, 0], *n), Measured(b, covariance[1, 1], *n)
        return compare(*pair, max(0.0, difference(covariance))).verdict != "no_clear_difference"

    plain, by_patient = share(called_different, n_patients, per_patient, design)
    assert 0.025 <= by_patient <= 0.075
    assert plain > 0.085


# ---------------------------------------------------------------------------------------------------- what leaves the hospital


@pytest.mark.parametrize("n_classes", [2, 3])
def test_scores_allow_for_patients_and_nothing_else_changes(n_classes):
    (labels, first), (_, second) = (draw_rows(8, 240, 1.0, n_classes=n_classes, model=model, own=0.1) for model in (0, 1))
    patients = np.arange(240) // 3
    plain, by_patient = class_scores(labels, first, second), class_scores(labels, first, second, patients)
    for index, (one, other) in enumerate(zip(by_patient, plain, strict=True)):
        positive = index + (n_classes == 2)
        odds = [logs[:, positive] - np.logaddexp.reduce(np.delete(logs, positive, axis=1), axis=1) for logs in (first, second)]
        _, _, covariance = paired_delong(labels == positive, *odds, patients)
        assert one.auroc_variance == pytest.approx(covariance[0, 0])
        assert one.covariance_with_alone == pytest.approx(covariance[0, 1])
        assert one.auroc_variance != other.auroc_variance
        changed = {"auroc_variance": other.auroc_variance, "covariance_with_alone": other.covariance_with_alone}
        assert msgspec.structs.replace(one, **changed) == other


def test_class_of_one_patient_has_no_auroc_but_is_counted_and_the_report_stands():
    labels, logs = draw_rows(8, 240, 1.0)
    (one,) = class_scores(labels, logs, logs, np.where(labels == 1, 0, np.arange(240) + 1))
    assert (one.auroc, one.auroc_variance, one.covariance_with_alone) == (None, None, None)
    assert (one.n_positive, sum(one.histogram_positive)) == (labels.sum(), labels.sum())
    summary = make_summary({"a": 240, "b": 240}, n_rounds=1)
    site = summary.sites[0]
    scored = msgspec.structs.replace(site.federated, n=240, classes=(one,))
    alone = msgspec.structs.replace(scored, kind="alone")
    site = dataclasses.replace(site, federated=scored, alone=alone, personalised=None)
    report = build_report(dataclasses.replace(summary, sites=(site, *summary.sites[1:])))
    entry = report["sites"][0]
    assert (entry["auroc"]["value"], entry["auroc"]["status"]) == (None, "not_estimable")
    assert entry["versus_alone"]["federated"]["verdict"] == "not_estimable"


def test_silo_scores_with_the_patients_of_the_scored_rows(monkeypatch):
    labels, logs = draw_rows(8, 300, 1.0)
    patients, test = np.arange(300) // 3, tuple(range(120, 300))
    cohort = Cohort(np.zeros((300, 1, 2, 2), np.float32), labels, Parts((), (), ()), patients, store=None)
    monkeypatch.setattr(scoring, "log_probabilities", lambda model, cohort, part: logs[list(cohort.parts.named(part))])
    scored = scoring.score(None, dataclasses.replace(cohort, parts=Parts((), (), test)), "test", logs[120:])
    assert scored.classes == class_scores(labels[120:], logs[120:], logs[120:], patients[120:])


def test_cohort_tells_images_of_one_patient_from_those_of_another(make_plan: MakePlan, make_store: MakeStore):
    store, plan = make_store(), make_plan()
    cohort = load_cohort(store, plan, store.path.parent / "cache")
    samples = [sample for sample in store.samples if plan.task.target in sample.labels]
    assert len(cohort.patients) == len(cohort.labels) == len(samples)
    assert cohort.n_patients == len({sample.patient for sample in samples})
    for position, sample in enumerate(samples):
        same = [other.patient == sample.patient for other in samples]
        assert list(cohort.patients == cohort.patients[position]) == same
