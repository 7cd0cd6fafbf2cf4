"""A cohort store gives back what was put in, and notices whatever happened to it in between."""

from __future__ import annotations

import csv
import io
import json
import pickle
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from protocol.errors import StoreCorruptError, StoreError, StoreExistsError, StoreVersionError
from silo_node.cohort import CohortStore, StoreWriter
from silo_node.cohort.format import ALIGNMENT, DATA_FILES, Manifest
from silo_node.cohort.sealing import manifest_digest, rejections_csv


def small_store(path: Path, n: int = 5) -> CohortStore:
    with StoreWriter.create(path) as writer:
        for i in range(n):
            writer.add(
                np.full((1, 3, 5), i, np.uint8),
                patient=f"patient-{i // 2}",
                labels={"y": str(i % 2)} if i else {},
                fold="train",
                sex="F",
                age=i,
            )
        return writer.finish()


images = st.one_of(
    [
        arrays.arrays(kind, st.tuples(st.sampled_from([1, 3]), st.integers(1, 6), st.integers(1, 6)), elements=elements)
        for kind, elements in (
            (np.uint8, None),
            (np.uint16, None),
            (np.float32, st.floats(0, 1, width=32)),
        )
    ]
)


@settings(max_examples=30, deadline=None)
@given(st.lists(images, min_size=1, max_size=5))
def test_images_come_back_as_fractions_of_the_display_range(tmp_path_factory, given_images) -> None:
    path = tmp_path_factory.mktemp("cohort") / "store"
    with StoreWriter.create(path) as writer:
        for image in given_images:
            writer.add(image, patient="p")
        store = writer.finish()
    assert len(store) == len(given_images)
    for index, image in enumerate(given_images):
        top = {"uint8": 255, "uint16": 65535, "float32": 1}[image.dtype.name]
        shown = store.image(index)
        assert shown.dtype == np.float32
        assert store.samples[index].shape == shown.shape == image.shape
        np.testing.assert_allclose(shown, image / np.float64(top), atol=1e-7)
        np.testing.assert_array_equal(store.stored(index), image)
        assert store.records[index].offset % ALIGNMENT == 0


def test_modality_stores_give_units(tmp_path) -> None:
    with StoreWriter.create(tmp_path / "s", values="modality") as writer:
        writer.add(np.array([[[-1000, 3000]]], np.int16), patient="p")
        store = writer.finish()
    assert store.values == store.card["values"] == "modality"
    np.testing.assert_array_equal(store.image(0), [[[-1000, 3000]]])


def test_samples_carry_what_was_said_of_them(tmp_path) -> None:
    sample = small_store(tmp_path / "s").samples[3]
    assert (sample.index, sample.patient, sample.labels, sample.fold) == (3, "patient-1", {"y": "1"}, "train")
    assert (sample.sex, sample.age, sample.manufacturer, sample.shape) == ("F", 3, None, (1, 3, 5))


def test_the_digest_depends_on_the_content_alone(tmp_path) -> None:
    first, second = small_store(tmp_path / "a"), small_store(tmp_path / "b")
    assert first.digest == second.digest == CohortStore.open(tmp_path / "a").digest
    assert small_store(tmp_path / "c", n=4).digest != first.digest


def test_a_pickled_store_opens_again(tmp_path) -> None:
    store = pickle.loads(pickle.dumps(small_store(tmp_path / "s")))
    np.testing.assert_allclose(store.image(4), 4 / 255)
    assert pickle.loads(pickle.dumps(store.samples)) == store.samples


def test_images_are_read_only_views(tmp_path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        small_store(tmp_path / "s").stored(0)[...] = 1


def test_nothing_is_visible_before_the_end_and_nothing_stays_after_a_failure(tmp_path) -> None:
    def fail() -> None:
        with StoreWriter.create(tmp_path / "s") as writer:
            writer.add(np.zeros((1, 2, 2), np.uint8), patient="p")
            assert not (tmp_path / "s").exists()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_never_overwritten(tmp_path) -> None:
    small_store(tmp_path / "s")
    with pytest.raises(StoreExistsError, match="does not overwrite"):
        StoreWriter.create(tmp_path / "s")


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((2, 2), np.uint8),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros((1, 0, 2), np.uint8),
        np.zeros((1, 2, 2), np.int16),
        np.zeros((1, 2, 2), np.float64),
        np.full((1, 2, 2), np.nan, np.float32),
        np.full((1, 2, 2), 1.5, np.float32),
    ],
)
def test_what_a_display_store_cannot_hold_is_refused(tmp_path, image) -> None:
    with StoreWriter.create(tmp_path / "s") as writer, pytest.raises(StoreError):
        writer.add(image, patient="p")


@pytest.mark.parametrize("said", [{"labels": {"y": 1}}, {"sex": "female"}, {"age": "40"}])
def test_what_is_said_of_a_sample_has_its_type(tmp_path, said) -> None:
    with StoreWriter.create(tmp_path / "s") as writer, pytest.raises(StoreError, match="cannot be stored"):
        writer.add(np.zeros((1, 2, 2), np.uint8), patient="p", **said)


def test_an_empty_store_is_refused(tmp_path) -> None:
    with StoreWriter.create(tmp_path / "s") as writer, pytest.raises(StoreError, match="at least one"):
        writer.finish()


@pytest.mark.parametrize("name", [*DATA_FILES, "store.json"])
def test_a_flipped_bit_anywhere_is_noticed(tmp_path, name) -> None:
    small_store(tmp_path / "s")
    file = tmp_path / "s" / name
    data = file.read_bytes()
    for position in range(0, len(data), max(1, len(data) // 40)):
        file.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        with pytest.raises(StoreError):
            CohortStore.open(tmp_path / "s")


@pytest.mark.parametrize("name", [*DATA_FILES, "store.json"])
@pytest.mark.parametrize("verify", [True, False])
def test_a_missing_or_shortened_file_is_noticed_even_without_hashing(tmp_path, name, verify) -> None:
    small_store(tmp_path / "s")
    file = tmp_path / "s" / name
    for data in (file.read_bytes()[:-2], b""):
        file.write_bytes(data)
        with pytest.raises(StoreCorruptError, match="again"):
            CohortStore.open(tmp_path / "s", verify=verify)
    file.unlink()
    with pytest.raises(StoreCorruptError, match="missing"):
        CohortStore.open(tmp_path / "s", verify=verify)


def test_a_newer_version_says_so(tmp_path) -> None:
    small_store(tmp_path / "s")
    manifest = json.loads((tmp_path / "s" / "store.json").read_bytes())
    (tmp_path / "s" / "store.json").write_text(json.dumps(manifest | {"version": 2, "compression": "zstd"}))
    with pytest.raises(StoreVersionError, match="version 2"):
        CohortStore.open(tmp_path / "s")


def test_records_that_point_outside_their_pixels_are_noticed(tmp_path) -> None:
    small_store(tmp_path / "s")
    folder = tmp_path / "s"
    samples = folder / "samples.jsonl"
    samples.write_bytes(samples.read_bytes().replace(b'"offset":64', b'"offset":65'))
    with pytest.raises(StoreCorruptError, match="does not fit"):
        CohortStore.open(folder, verify=False)


def test_absent_unfinished_and_foreign_folders_are_told_apart(tmp_path) -> None:
    with pytest.raises(StoreError, match="no cohort store"):
        CohortStore.open(tmp_path / "s")
    (tmp_path / "s.partial").mkdir()
    with pytest.raises(StoreError, match="not finished"):
        CohortStore.open(tmp_path / "s")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "store.json").write_text('{"format": "something else"}')
    with pytest.raises(StoreError, match="not a fedward cohort store"):
        CohortStore.open(tmp_path / "s")


def test_the_manifest_digest_covers_every_field(tmp_path) -> None:
    small_store(tmp_path / "s")
    manifest = msgspec.json.decode((tmp_path / "s" / "store.json").read_bytes(), type=Manifest)
    changes = {"format": "x", "version": 9, "values": "modality", "n_samples": 9, "n_patients": 9, "files": {}}
    assert set(changes) == {field.name for field in msgspec.structs.fields(Manifest)} - {"digest"}
    for name, value in changes.items():
        assert manifest_digest(msgspec.structs.replace(manifest, **{name: value})) != manifest.digest


def test_the_card_counts_patients_once(tmp_path) -> None:
    card = small_store(tmp_path / "s").card
    assert (card["n_samples"], card["n_patients"]) == (5, 3)
    assert card["patients_by_sex"] == {"F": 3}
    assert card["labels"]["y"] == {"missing": 1, "distinct": 2, "counts": {"0": 2, "1": 2}}
    assert card["folds"] == {"train": {"patients": 3, "samples": 5}}


def test_the_card_warns_of_patients_in_several_folds(tmp_path) -> None:
    with StoreWriter.create(tmp_path / "s") as writer:
        for fold in ("train", "test"):
            writer.add(np.zeros((1, 2, 2), np.uint8), patient="p", fold=fold)
        assert "more than one fold" in writer.finish().card["warnings"][0]


NAMES = [
    "=cmd.png",
    "+1.png",
    "-1.png",
    "@SUM(A1).png",
    " =1.png",
    "\t=1.png",
    "\r1",
    "'quoted.png",
    "＝1",
    "a;=1.png",
    'a";=1',
    "a.png",
]


def test_no_cell_of_the_rejections_is_a_formula_and_names_can_be_had_back() -> None:
    text = rejections_csv([(name, "empty", "Export it again.") for name in NAMES]).decode()
    for delimiter in ",;":
        cells = [row[0] for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)][1:]
        assert not [cell for cell in cells if cell.lstrip()[:1] in tuple("=+-@＝")]
    rows = list(csv.reader(io.StringIO(text, newline="")))[1:]
    assert [row[0].removeprefix("'") for row in rows] == NAMES
    assert [row[0] for row in rows if row[0].startswith("'")] == [f"'{name}" for name in NAMES[:9]]
