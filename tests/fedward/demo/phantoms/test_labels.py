from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from fedward.demo.phantoms import Hospital
from fedward.demo.phantoms.export import Draft, draft
from fedward.demo.phantoms.sites import SITES
from tests.fedward.demo.phantoms.inspection import files, inspect, labels


def test_columns_and_values(hospital: Hospital) -> None:
    rows = labels(hospital.labels)
    assert list(rows[0]) == ["SOPInstanceUID", "PatientID", "finding", "fold"]
    assert {row["finding"] for row in rows} == {"0", "1"}
    assert {row["fold"] for row in rows} == {"train", "test"}


def test_no_patient_is_in_both_folds(hospital: Hospital) -> None:
    folds = defaultdict(set)
    for row in labels(hospital.labels):
        folds[row["PatientID"]].add(row["fold"])
    assert len(folds) == hospital.n_patients
    assert all(len(of_one) == 1 for of_one in folds.values())


def test_labels_and_images_agree_on_the_patient(hospital: Hospital) -> None:
    patient = {row["SOPInstanceUID"]: row["PatientID"] for row in labels(hospital.labels)}
    found = inspect(files(hospital), set(patient))
    assert {ds.SOPInstanceUID: ds.PatientID for ds in found.good}.items() <= patient.items()
    assert {ds.PatientID for ds in found.good} == set(patient.values())


@pytest.fixture(scope="module")
def drafts() -> dict[str, Draft]:
    """The demo's hospitals in full size, before any image is made."""
    return {site.name: draft(site, 7, position) for position, site in enumerate(SITES)}


def test_hospitals_differ_in_size_and_prevalence(drafts: dict[str, Draft]) -> None:
    prevalence = {name: round(float(plan.cohort.ill.mean()), 2) for name, plan in drafts.items()}
    assert prevalence == pytest.approx({"northgate": 0.30, "harbour": 0.17, "st-brigid": 0.45, "valley": 0.60}, abs=0.02)
    sizes = {name: len(plan.persons) for name, plan in drafts.items()}
    assert sizes == {"northgate": 720, "harbour": 580, "st-brigid": 620, "valley": 360}
    assert 3300 <= sum(len(plan.shots) for plan in drafts.values()) <= 3900


def test_many_patients_have_several_images(drafts: dict[str, Draft]) -> None:
    """Otherwise a promise to patients would be no more than one to images."""
    for plan in drafts.values():
        images = np.bincount([shot.patient for shot in plan.shots])
        assert np.mean(images > 1) > 0.3
        assert images.max() >= 3


def test_every_test_fold_can_be_audited(drafts: dict[str, Draft]) -> None:
    """Both sexes, with and without the finding; enough women and men with it where the bias was planted."""
    for plan in drafts.values():
        cohort = plan.cohort
        for sex in (cohort.female, ~cohort.female):
            assert (cohort.test & sex & cohort.ill).sum() >= 2
            assert (cohort.test & sex & ~cohort.ill).sum() >= 2
    biased = drafts["st-brigid"]
    positive = [shot.patient for shot in biased.shots if shot.finding and biased.cohort.test[shot.patient]]
    women = np.count_nonzero(biased.cohort.female[positive])
    assert women >= 15
    assert len(positive) - women >= 15


def test_an_early_image_may_predate_the_finding_but_health_stays_health(drafts: dict[str, Draft]) -> None:
    plan = drafts["northgate"]
    early = [shot for shot in plan.shots if plan.cohort.ill[shot.patient] and not shot.finding]
    assert early
    assert all(shot.visit == 1 and plan.cohort.visits[shot.patient] > 1 for shot in early)
    assert not any(shot.finding for shot in plan.shots if not plan.cohort.ill[shot.patient])
