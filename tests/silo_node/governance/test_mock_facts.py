"""What a mock shows of the real cohort: nothing that fewer than SHARED_BY patients have, whatever the cohort is."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import StoreError
from silo_node.cohort import CohortStore, Sample
from silo_node.governance.mock import SHARED_BY, make_mock, open_mock, public_facts
from tests.conftest import MakeStore

COMMON = Sample(0, "", {"kind": "a"}, None, None, None, None, None, None, (1, 64, 32))
SIZES = [(1, 64, 32), (3, 600, 450), (1, 4000, 3001)]
PATIENT = st.fixed_dictionaries(
    {
        "labels": st.dictionaries(st.sampled_from(["kind", "site"]), st.sampled_from(["a", "b", ""])),
        "fold": st.sampled_from([None, "train", "test"]),
        "sex": st.sampled_from([None, "F", "M"]),
        "age": st.sampled_from([None, 40, 90]),
        "manufacturer": st.sampled_from([None, "", "Acme", "Beta"]),
        "model": st.sampled_from([None, "One"]),
        "modality": st.sampled_from([None, "CR", "DX"]),
        "shape": st.sampled_from(SIZES),
    }
)


def cohort(patients: list[tuple[dict[str, Any], int]], name: str = "p") -> list[Sample]:
    """Some patients, each with some images that look alike."""
    return [replace(COMMON, patient=f"{name}{n}", **facts) for n, (facts, images) in enumerate(patients) for _ in range(images)]


MANY = st.lists(st.tuples(PATIENT, st.integers(1, 3)), max_size=3).flatmap(
    lambda kinds: st.lists(st.sampled_from(kinds), max_size=60) if kinds else st.just([])
)
RARE = {
    "labels": {"kind": "rare", "rare column": "yes"},
    "fold": "rare",
    "manufacturer": "Rare",
    "model": "Rare",
    "modality": "XX",
    "shape": (3, 77, 99),
}


@given(MANY, st.integers(0, SHARED_BY - 1), st.integers(1, 40))
def test_what_few_patients_have_changes_nothing_that_is_shown(patients: list[Any], few: int, images: int) -> None:
    ordinary = cohort(patients)
    blank = [replace(COMMON, patient=f"rare{n}", labels={}, shape=(2, n + 1, 5)) for n in range(few)]
    rare = cohort([({**RARE, "fold": None}, images)] * few, "rare")
    assert public_facts(ordinary + rare) == public_facts(ordinary + blank)


@given(MANY)
def test_everything_that_is_shown_is_shared_by_enough_patients(patients: list[Any]) -> None:
    samples, shown = cohort(patients), public_facts(cohort(patients))

    def having(has: Any) -> int:
        return len({sample.patient for sample in samples if has(sample)})

    for name, values in shown["labels"].items():
        assert values
        for value in values:
            assert having(lambda sample, name=name, value=value: sample.labels.get(name) == value) >= SHARED_BY
    for what in ("modality", "manufacturer"):
        for value in shown[what]:
            assert having(lambda sample, what=what, value=value: getattr(sample, what) == value) >= SHARED_BY
    if shown["folds"]:
        assert having(lambda sample: sample.fold) >= SHARED_BY
    scaled = {size: _scaled(size) for size in SIZES}
    sources = [size for size, small in scaled.items() if small == shown["image"]]
    enough = [size for size in sources if having(lambda sample, size=size: sample.shape == size) >= SHARED_BY]
    assert enough or shown["image"] == [1, 128, 128]
    assert set(shown) == {"labels", "modality", "manufacturer", "folds", "image"}  # a new field needs a line above


def _scaled(size: tuple[int, int, int]) -> list[int]:
    scale = min(1.0, 128 / max(size[1:]))
    return [size[0], max(8, round(size[1] * scale)), max(8, round(size[2] * scale))]


def test_one_patient_with_very_many_images_does_not_set_the_size() -> None:
    alone = cohort([({"shape": (3, 77, 99)}, 500)], "alone")
    assert public_facts(alone)["image"] == [1, 128, 128]
    others = cohort([({"shape": (1, 64, 32)}, 1)] * SHARED_BY)
    assert public_facts(alone + others)["image"] == [1, 64, 32]


def test_a_single_fold_is_not_shown() -> None:
    folded = [({"fold": "test"}, 3)]
    assert not public_facts(cohort(folded * (SHARED_BY - 1)))["folds"]
    assert public_facts(cohort(folded * SHARED_BY))["folds"]


def test_a_mock_holds_what_it_says_and_nothing_else_of_the_cohort(make_store: MakeStore, tmp_path: Path) -> None:
    store = CohortStore.open(make_store("north").path)
    facts = make_mock(store, tmp_path / "mock.zip", patients=40)
    mock = open_mock(tmp_path / "mock.zip", tmp_path / "mock")
    assert len({sample.patient for sample in mock.samples}) == 40
    assert not {sample.patient for sample in mock.samples} & {sample.patient for sample in store.samples}
    assert {sample.shape for sample in mock.samples} == {tuple(facts["image"])}
    with zipfile.ZipFile(tmp_path / "mock.zip") as archive:
        text = b"".join(archive.read(name) for name in archive.namelist())
    assert store.digest.removeprefix("sha256:").encode() not in text


def test_a_cohort_in_which_nothing_is_shared_shows_nothing() -> None:
    class Store:
        samples = cohort([({"labels": {"kind": f"own-{n}"}}, 1) for n in range(40)])

    with pytest.raises(StoreError, match="cannot be shown"):
        make_mock(Store(), Path("never-written.zip"))  # type: ignore[arg-type]
