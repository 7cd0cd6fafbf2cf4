from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import CohortError
from protocol.plan.data import Split
from silo_node.cohort import Sample
from silo_node.splits import split_patients

FOLDS = [None, "train", "test", "validation"]
people = st.lists(st.tuples(st.integers(1, 4), st.sampled_from("01"), st.sampled_from(FOLDS)), min_size=1, max_size=60)


def samples_of(patients: list[tuple[int, str, str | None]]) -> list[Sample]:
    rows = [(f"p{n}", label, fold) for n, (images, label, fold) in enumerate(patients) for _ in range(images)]
    return [
        Sample(i, patient, {"y": label}, fold, None, None, None, None, None, (1, 4, 4))
        for i, (patient, label, fold) in enumerate(rows)
    ]


@given(patients=people, test=st.floats(0, 0.9), validation=st.floats(0, 0.9), seed=st.integers(0, 1000))
def test_no_patient_ever_stands_in_two_parts_and_no_image_is_lost(
    patients: list[tuple[int, str, str | None]], test: float, validation: float, seed: int
) -> None:
    samples = samples_of(patients)
    parts = split_patients(samples, "y", Split(test_fraction=test, validation_fraction=validation), seed)
    everything = parts.train + parts.validation + parts.test
    assert sorted(everything) == list(range(len(samples)))
    sets = [{samples[i].patient for i in part} for part in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, sets)) == len(set().union(*sets))


@given(patients=people, seed=st.integers(0, 1000))
def test_a_given_fold_is_honoured(patients: list[tuple[int, str, str | None]], seed: int) -> None:
    samples = samples_of(patients)
    parts = split_patients(samples, "y", Split(), seed)
    for i, sample in enumerate(samples):
        if sample.fold == "test":
            assert i in parts.test
        if sample.fold == "train":
            assert i not in parts.test
        if sample.fold == "validation":
            assert i in parts.validation


def test_the_order_of_the_samples_does_not_decide_who_tests() -> None:
    samples = samples_of([(1, str(n % 2), None) for n in range(40)])
    parts = split_patients(samples, "y", Split(), 1)
    backwards = split_patients(samples[::-1], "y", Split(), 1)
    assert {samples[i].patient for i in parts.test} == {samples[::-1][i].patient for i in backwards.test}
    assert {samples[i].patient for i in split_patients(samples, "y", Split(), 2).test} != {
        samples[i].patient for i in parts.test
    }


def test_each_class_is_split_by_itself() -> None:
    samples = samples_of([(1, "1", None)] * 10 + [(1, "0", None)] * 90)
    parts = split_patients(samples, "y", Split(test_fraction=0.2, validation_fraction=0.0), 5)
    assert sum(samples[i].labels["y"] == "1" for i in parts.test) == 2


def test_the_fold_column_can_be_ignored() -> None:
    samples = samples_of([(1, "0", "test")] * 20)
    assert split_patients(samples, "y", Split(use_fold_column=False, test_fraction=0.0), 1).test == ()


def test_a_patient_in_two_folds_or_an_unknown_fold_is_refused() -> None:
    two = samples_of([(2, "0", "train")])
    mixed = [two[0], Sample(1, "p0", {"y": "0"}, "test", None, None, None, None, None, (1, 4, 4))]
    with pytest.raises(CohortError, match="several folds"):
        split_patients(mixed, "y", Split(), 1)
    with pytest.raises(CohortError, match="a fold is not one of"):
        split_patients(samples_of([(1, "0", "holdout")]), "y", Split(), 1)


@given(
    patients=people, test=st.floats(0, 0.9), validation=st.floats(0, 0.9), seed=st.integers(0, 1000), gone=st.integers(0, 59)
)
def test_split_independently_taking_one_patient_away_moves_no_other(
    patients: list[tuple[int, str, str | None]], test: float, validation: float, seed: int, gone: int
) -> None:
    """What differential privacy needs: two cohorts that differ in one patient differ in that patient's part only."""
    samples, split = samples_of(patients), Split(test_fraction=test, validation_fraction=validation)
    fewer = [sample for sample in samples if sample.patient != f"p{gone}"]

    def members(of: list[Sample]) -> dict[str, set[str]]:
        parts = split_patients(of, "y", split, seed, independently=True)
        return {name: {of[i].patient for i in parts.named(name)} - {f"p{gone}"} for name in ("train", "validation", "test")}

    if fewer:
        assert members(samples) == members(fewer)


def test_split_independently_parts_are_about_as_large_as_asked_and_folds_are_honoured() -> None:
    samples = samples_of([(1, "0", None)] * 2000)
    parts = split_patients(samples, "y", Split(test_fraction=0.3, validation_fraction=0.2), 5, independently=True)
    assert 500 < len(parts.test) < 700
    assert 220 < len(parts.validation) < 340
    given_folds = samples_of([(1, "0", fold) for fold in ("train", "test", "validation")] * 3)
    parts = split_patients(given_folds, "y", Split(validation_fraction=0.0), 5, independently=True)
    assert (parts.train, parts.test, parts.validation) == ((0, 3, 6), (1, 4, 7), (2, 5, 8))
