"""Every file ends as a sample or as a reason, and the store holds no identifier in clear."""

from __future__ import annotations

import csv
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from dicom_phantoms import cohort, dataset, ensure_key, save, write_labels
from PIL import Image

from protocol.errors import InputError, LabelsError, SourceError, StoreExistsError
from silo_node.cohort import CohortStore
from silo_node.intake import ImportSummary, Settings, import_folder
from silo_node.intake.pseudonym import patient_pseudonym

KEY = bytes(range(32))


def run(source: Path, labels: Path, folder: Path, **options) -> ImportSummary:
    return import_folder(source, labels, folder / "store", key=ensure_key(folder / "key"), **options)


def reasons_of(summary: ImportSummary) -> dict[str, str]:
    with summary.report.open(encoding="utf-8") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


def test_a_clean_folder_becomes_a_cohort(tmp_path) -> None:
    source, labels = cohort(tmp_path, 10)
    progress: list[tuple[int, int]] = []
    summary = run(source, labels, tmp_path, on_progress=lambda done, total: progress.append((done, total)))
    store = CohortStore.open(summary.store)
    assert (summary.n_files, summary.n_samples, summary.n_patients, summary.rejected) == (10, 10, 5, {})
    assert progress == [(i, 10) for i in range(1, 11)]
    assert summary.digest == store.digest
    assert store.samples[0].patient == patient_pseudonym(KEY, "MRN-0000")
    assert store.samples[0].labels == {"finding": "0"}
    assert (store.samples[0].fold, store.samples[0].sex, store.samples[0].age) == ("test", "M", 30)
    assert (store.samples[0].manufacturer, store.samples[0].modality, store.samples[0].shape) == ("ACME", "CT", (1, 16, 12))
    assert not (tmp_path / "store.partial").exists()
    assert stat.S_IMODE(summary.store.stat().st_mode) == 0o700


def test_every_kind_of_file_gets_its_reason(tmp_path) -> None:
    source, _ = cohort(tmp_path, 3)
    uids = {
        name: save(dataset(pixels), source / name)
        for name, pixels in {
            "a.dcm": np.full((4, 4), 1, np.uint8),
            "b.dcm": np.full((4, 4), 2, np.uint8),
            "blank_label.dcm": np.full((4, 4), 3, np.uint8),
            "stranger.dcm": np.full((4, 4), 4, np.uint8),
            "unlabelled.dcm": np.full((4, 4), 5, np.uint8),
        }.items()
    }
    save(dataset(np.full((4, 4), 6, np.uint8), SOPInstanceUID=uids["a.dcm"]), source / "z_same_instance.dcm")
    twin = save(dataset(np.full((4, 4), 1, np.uint8)), source / "z_same_pixels.dcm")
    nobody = save(dataset(np.full((4, 4), 7, np.uint8), PatientID=""), source / "nobody.dcm")
    (source / ".hidden.dcm").write_bytes(b"x")
    (source / "empty.dcm").touch()
    (source / "export.zip").write_bytes(b"PK\x03\x04rest")
    (source / "notes.txt").write_text("not an image")
    (source / "truncated.dcm").write_bytes((source / "b.dcm").read_bytes()[:-10])
    (tmp_path / "elsewhere.dcm").write_bytes((source / "b.dcm").read_bytes())
    (source / "link.dcm").symlink_to(tmp_path / "elsewhere.dcm")
    (source / "loop.dcm").symlink_to(source / "loop.dcm")
    os.mkfifo(source / "pipe")
    (source / "folder").mkdir()
    (source / "same_folder").symlink_to(source / "folder")
    rows: list[dict[str, object]] = [
        {"SOPInstanceUID": uid, "PatientID": "", "y": "1"} for uid in (uids["a.dcm"], uids["b.dcm"], twin, nobody)
    ]
    rows.append({"SOPInstanceUID": uids["blank_label.dcm"], "PatientID": "", "y": ""})
    rows.append({"SOPInstanceUID": uids["stranger.dcm"], "PatientID": "MRN-9999", "y": "1"})
    rows.append({"SOPInstanceUID": "9.9.9", "PatientID": "", "y": "1"})
    summary = run(source, write_labels(tmp_path / "labels.csv", rows), tmp_path)
    assert reasons_of(summary) == {
        ".hidden.dcm": "hidden",
        "00000.dcm": "no_label",
        "00001.dcm": "no_label",
        "00002.dcm": "no_label",
        "blank_label.dcm": "label_empty",
        "empty.dcm": "empty",
        "export.zip": "archive",
        "line 8 of the labels": "line_without_file",
        "link.dcm": "outside_source",
        "loop.dcm": "not_a_file",
        "nobody.dcm": "no_patient",
        "notes.txt": "not_an_image",
        "pipe": "not_a_file",
        "same_folder": "linked_folder",
        "stranger.dcm": "identifier_mismatch",
        "truncated.dcm": "decode_failed",
        "unlabelled.dcm": "no_label",
        "z_same_instance.dcm": "duplicate_instance",
        "z_same_pixels.dcm": "duplicate_pixels",
    }
    assert summary.n_samples == 2
    assert summary.n_files == summary.n_samples + sum(summary.rejected.values())
    assert summary.labels_without_file == 1


def test_no_identifier_reaches_the_store(tmp_path) -> None:
    ds = dataset(PatientID="SECRET-ID", PatientName="SECRET^NAME", AccessionNumber="SECRET-ACC", InstitutionName="SECRET-INST")
    ds.StudyInstanceUID, ds.SOPInstanceUID = "1.2.3.999.1", "1.2.3.999.2"
    save(ds, tmp_path / "source" / "SECRET-FILE.dcm")
    labels = write_labels(tmp_path / "labels.csv", [{"AccessionNumber": "SECRET-ACC", "PatientID": "SECRET-ID", "y": 1}])
    summary = run(tmp_path / "source", labels, tmp_path)
    for file in summary.store.iterdir():
        assert b"SECRET" not in file.read_bytes()
        assert b"1.2.3.999" not in file.read_bytes()


def test_a_patient_number_of_two_issuers_is_pointed_out(tmp_path) -> None:
    for number, issuer in enumerate(("A", "B")):
        ds = dataset(np.full((4, 4), number, np.uint8), IssuerOfPatientID=issuer)
        save(ds, tmp_path / "source" / f"{issuer}.dcm")
    labels = write_labels(tmp_path / "labels.csv", [{"PatientID": "MRN-0001", "y": 1}])
    store = CohortStore.open(run(tmp_path / "source", labels, tmp_path).store)
    assert store.card["n_patients"] == 2
    assert "1 patient numbers occur under more than one issuer" in store.card["warnings"][0]


def test_pictures_are_grouped_by_the_patient_of_their_line(tmp_path) -> None:
    rows: list[dict[str, object]] = []
    for i in range(4):
        (tmp_path / "source" / "a").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 5, 3), i, np.uint8)).save(tmp_path / "source" / "a" / f"{i}.png")
        rows.append({"file": f"a/{i}.png", "PatientID": f"P{i // 2}", "sex": "female", "age": 93, "y": i % 2})
    labels = write_labels(tmp_path / "labels.csv", rows)
    store = CohortStore.open(run(tmp_path / "source", labels, tmp_path).store)
    assert [sample.patient for sample in store.samples] == [patient_pseudonym(KEY, f"P{i // 2}") for i in range(4)]
    assert {(sample.sex, sample.age, sample.shape) for sample in store.samples} == {("F", 90, (3, 4, 5))}
    np.testing.assert_allclose(store.image(3), 3 / 255)


@pytest.mark.parametrize("column", ["file", "PatientID"])
def test_pictures_without_file_or_patient_are_refused_before_decoding(tmp_path, column) -> None:
    (tmp_path / "source").mkdir()
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "source" / "a.png")
    row = {"file": "a.png", "PatientID": "P", "y": 1}
    del row[column]
    with pytest.raises(LabelsError, match=column):
        run(tmp_path / "source", write_labels(tmp_path / "labels.csv", [row]), tmp_path)


def test_every_frame_is_a_sample_of_the_same_patient(tmp_path) -> None:
    pixels = np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4)
    save(dataset(pixels, frames=3), tmp_path / "source" / "cine.dcm")
    labels = write_labels(tmp_path / "labels.csv", [{"PatientID": "MRN-0001", "y": 1}])
    store = CohortStore.open(run(tmp_path / "source", labels, tmp_path).store)
    assert [record.frame for record in store.records] == [0, 1, 2]
    assert len({sample.patient for sample in store.samples}) == 1
    np.testing.assert_array_equal(np.concatenate([store.stored(i) for i in range(3)]), pixels)


def test_modality_values_are_said_to_be_such(tmp_path) -> None:
    save(dataset(np.array([[0, 4000]], np.uint16), RescaleSlope=1, RescaleIntercept=-1024), tmp_path / "source" / "ct.dcm")
    labels = write_labels(tmp_path / "labels.csv", [{"PatientID": "MRN-0001", "y": 1}])
    store = CohortStore.open(run(tmp_path / "source", labels, tmp_path, values="modality").store)
    assert store.values == store.card["values"] == "modality"
    assert store.card["units"] == {"HU": 1}
    np.testing.assert_array_equal(store.image(0), [[[-1024, 2976]]])


def test_non_square_pixels_are_recorded_and_left_alone(tmp_path) -> None:
    save(dataset(PixelSpacing=[0.5, 0.25]), tmp_path / "source" / "a.dcm")
    labels = write_labels(tmp_path / "labels.csv", [{"PatientID": "MRN-0001", "y": 1}])
    store = CohortStore.open(run(tmp_path / "source", labels, tmp_path).store)
    assert store.records[0].spacing == (0.5, 0.25)
    assert store.card["non_square_pixels"] == 1
    assert store.samples[0].shape == (1, 6, 8)


def test_without_any_sample_there_is_a_report_and_no_store(tmp_path) -> None:
    source, _ = cohort(tmp_path, 2)
    labels = write_labels(tmp_path / "labels.csv", [{"PatientID": "nobody", "y": 1}])
    with pytest.raises(SourceError, match="None of the 2 files"):
        run(source, labels, tmp_path)
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "store.partial").exists()
    assert (tmp_path / "store.rejections.csv").read_text().count("no_label") == 2


def test_the_store_is_the_same_however_many_decoders_made_it(tmp_path) -> None:
    source, labels = cohort(tmp_path, 60)
    key = ensure_key(tmp_path / "key")
    digests = {import_folder(source, labels, tmp_path / f"s{n}", key=key, workers=n).digest for n in (1, 2, 3)}
    assert len(digests) == 1


def test_a_file_larger_than_the_limit_is_refused(tmp_path) -> None:
    source, labels = cohort(tmp_path, 2)
    save(dataset(np.zeros((100, 100), np.uint8), SOPInstanceUID="1.2.3.0.1", PatientID="MRN-0000"), source / "00001.dcm")
    summary = run(source, labels, tmp_path, settings=Settings(decoded_bytes=1000))
    assert reasons_of(summary) == {"00001.dcm": "too_large"}


def test_existing_stores_and_senseless_places_are_refused(tmp_path) -> None:
    source, labels = cohort(tmp_path, 2)
    key = ensure_key(tmp_path / "key")
    with pytest.raises(InputError, match="inside the folder"):
        import_folder(source, labels, source / "store", key=key)
    with pytest.raises(SourceError, match="not a folder"):
        import_folder(tmp_path / "absent", labels, tmp_path / "store", key=key)
    with pytest.raises(InputError, match="display or modality"):
        import_folder(source, labels, tmp_path / "store", key=key, values="raw")  # type: ignore[arg-type]
    (tmp_path / "void").mkdir()
    with pytest.raises(SourceError, match="holds no files"):
        import_folder(tmp_path / "void", labels, tmp_path / "store", key=key)
    (tmp_path / "store").mkdir()
    with pytest.raises(StoreExistsError):
        import_folder(source, labels, tmp_path / "store", key=key)


def test_odd_file_names_are_imported_and_reported(tmp_path) -> None:
    source, labels = cohort(tmp_path, 2)
    odd = os.fsdecode(b'caf\xe9\n;".txt')
    (source / odd).write_text("x")
    (source / "00001.dcm").rename(source / os.fsdecode(b"\xff.dcm"))
    summary = run(source, labels, tmp_path)
    assert summary.n_samples == 2
    assert list(reasons_of(summary).values()) == ["not_an_image"]


SECRETS = {
    "SpecificCharacterSet": "ISO_IR 192",
    "PatientID": "SECRETPID7",
    "PatientName": "Müller^Änne",
    "PatientBirthDate": "19500823",
    "AccessionNumber": "ACC-4711",
    "ReferringPhysicianName": "Schmidt^Erika^^Dr.",
}


@pytest.mark.parametrize(
    "text",
    [
        "M SECRETPID7",
        "M secret-pid 7",
        "M2 (ANNE)",
        "Mueller's scanner",
        "room 12, 23.08.1950",
        "1950-08-23",
        "acc4711",
        "Acme Ltd; Dr. Erika Schmidt",
        "scanner of 'private-file.dcm'",
        "x" * 60 + " SECRETPID7",
    ],
)
@pytest.mark.parametrize("place", ["header", "labels"])
@pytest.mark.filterwarnings("ignore:The value length")
def test_a_maker_or_model_that_names_the_patient_is_left_out(tmp_path, text, place) -> None:
    header = {"Manufacturer": text, "ManufacturerModelName": text} if place == "header" else {}
    save(dataset(**SECRETS, **header), tmp_path / "source" / "private-file.dcm")
    row: dict[str, object] = {"PatientID": "SECRETPID7", "y": 1}
    if place == "labels":
        row |= {"manufacturer": text, "model": text}
    summary = run(tmp_path / "source", write_labels(tmp_path / "labels.csv", [row]), tmp_path)
    store = CohortStore.open(summary.store)
    assert (store.samples[0].manufacturer, store.samples[0].model) == (None, None)
    assert (store.card["manufacturer"], store.card["model"]) == ({"missing": 1}, {"missing": 1})
    said = [warning for warning in store.card["warnings"] if "holds an identifier" in warning]
    assert [warning.split(" text")[0] for warning in said] == ["1 image: the manufacturer", "1 image: the model"]
    for file in summary.store.iterdir():
        assert text.encode() not in file.read_bytes()


def test_a_resumed_import_still_says_what_was_left_out(tmp_path) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: int) -> None:
        raise Killed

    save(dataset(**SECRETS, Manufacturer="SECRETPID7"), tmp_path / "source" / "a.dcm")
    labels = write_labels(tmp_path / "labels.csv", [{"PatientID": "SECRETPID7", "y": 1}])
    with pytest.raises(Killed):
        run(tmp_path / "source", labels, tmp_path, on_progress=kill)
    summary = run(tmp_path / "source", labels, tmp_path)
    assert summary.resumed == 1
    assert any("holds an identifier" in warning for warning in CohortStore.open(summary.store).card["warnings"])


def test_names_of_makers_stay_and_are_short_printable_lines(tmp_path) -> None:
    maker = "Köhler & Söhne\x1b[2J\u202e " + "y" * 80
    save(dataset(**SECRETS | {"PatientName": "Ge^Li"}), tmp_path / "source" / "a.dcm")
    row = {"PatientID": "SECRETPID7", "y": 1, "manufacturer": maker, "model": "GE Optima 660"}
    store = CohortStore.open(run(tmp_path / "source", write_labels(tmp_path / "labels.csv", [row]), tmp_path).store)
    assert store.samples[0].manufacturer == ("Köhler & Söhne [2J " + "y" * 80)[:64]
    assert store.samples[0].model == "GE Optima 660"


@pytest.mark.parametrize(
    ("modality", "kept"), [("MR", "MR"), ("MRT images", None), ("ct", None), ("A" * 17, None), ("SECRETPID7", None)]
)
@pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length")
def test_a_modality_is_a_code_or_missing(tmp_path, modality, kept) -> None:
    save(dataset(**SECRETS, Modality=modality), tmp_path / "source" / "a.dcm")
    labels = write_labels(tmp_path / "labels.csv", [{"PatientID": "SECRETPID7", "y": 1}])
    store = CohortStore.open(run(tmp_path / "source", labels, tmp_path).store)
    assert store.samples[0].modality == kept
    assert store.card["modality"] == {kept or "missing": 1}
    assert any("the modality" in warning for warning in store.card["warnings"]) == (kept is None)


def test_units_that_name_the_patient_are_left_out(tmp_path) -> None:
    save(dataset(**SECRETS, RescaleType="SECRETPID7"), tmp_path / "source" / "a.dcm")
    labels = write_labels(tmp_path / "labels.csv", [{"PatientID": "SECRETPID7", "y": 1}])
    store = CohortStore.open(run(tmp_path / "source", labels, tmp_path, values="modality").store)
    assert store.card["units"] == {"missing": 1}


def test_only_lines_whose_file_was_not_found_are_counted_and_they_are_listed(tmp_path) -> None:
    source = tmp_path / "source"
    save(dataset(np.full((4, 4), 1, np.uint8), SOPInstanceUID="1.2.1", BurnedInAnnotation="YES"), source / "text.dcm")
    save(dataset(np.full((4, 4), 2, np.uint8), SOPInstanceUID="1.2.2"), source / "good.dcm")
    (source / "empty.dcm").touch()
    (source / ".hidden.dcm").write_bytes(b"x")
    (source / "notes.txt").write_text("not an image")
    rows: list[dict[str, object]] = [
        {"SOPInstanceUID": "1.2.1", "file": "", "y": 1},
        {"SOPInstanceUID": "1.2.2", "file": "", "y": 1},
        {"SOPInstanceUID": "1.2.3", "file": "empty.dcm", "y": 1},
        {"SOPInstanceUID": "", "file": ".hidden.dcm", "y": 1},
        {"SOPInstanceUID": "", "file": "notes.txt", "y": 1},
        {"SOPInstanceUID": "", "file": "absent.dcm", "y": 1},
        {"SOPInstanceUID": "1.2.9", "file": "good.dcm", "y": 1},
    ]
    summary = run(source, write_labels(tmp_path / "labels.csv", rows), tmp_path)
    assert summary.n_samples == 1
    assert summary.labels_without_file == CohortStore.open(summary.store).card["labels_without_file"] == 2
    listed = [where for where, reason in reasons_of(summary).items() if reason == "line_without_file"]
    assert listed == ["line 7 of the labels", "line 8 of the labels"]
    assert "line_without_file" not in summary.rejected


def test_an_empty_patient_number_is_said_with_its_line(tmp_path) -> None:
    (tmp_path / "source").mkdir()
    rows: list[dict[str, object]] = []
    for i in range(2):
        Image.fromarray(np.full((4, 5), i, np.uint8)).save(tmp_path / "source" / f"{i}.png")
        rows.append({"file": f"{i}.png", "PatientID": "P" if i else "", "y": 1})
    summary = run(tmp_path / "source", write_labels(tmp_path / "labels.csv", rows), tmp_path)
    with summary.report.open() as file:
        assert next(csv.DictReader(file))["what_to_do"] == "Line 2 of the labels: PatientID is empty. Fill it in."
    rows[1]["PatientID"] = ""
    with pytest.raises(LabelsError, match="Line 2 of the labels: PatientID is empty"):
        import_folder(
            tmp_path / "source", write_labels(tmp_path / "labels.csv", rows), tmp_path / "t", key=ensure_key(tmp_path / "key")
        )


def test_a_new_key_is_announced_once(tmp_path) -> None:
    source, labels = cohort(tmp_path, 2)
    for store, announced in (("a", 1), ("b", 0)):
        notices: list[str] = []
        import_folder(source, labels, tmp_path / store, key=tmp_path / "new.key", on_notice=notices.append)
        assert len(notices) == announced
        for words in (str(tmp_path / "new.key"), "Back it up apart from the store", "other pseudonyms"):
            assert all(words in notice for notice in notices)


def test_a_source_that_cannot_be_read_is_said_so(tmp_path, monkeypatch) -> None:
    source, labels = cohort(tmp_path, 2)

    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match="cannot be read"):
        run(source, labels, tmp_path)
