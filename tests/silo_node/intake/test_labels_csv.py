"""The labels CSV is understood as hospitals write it, and refused where it is ambiguous or tells too much."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LabelsError
from silo_node.intake.labels import parse_labels, read_labels
from silo_node.intake.reasons import Reason, Rejection


def reason_for(table, identity) -> Reason:
    with pytest.raises(Rejection) as caught:
        table.check(table.find(identity), identity)
    return caught.value.reason


@pytest.mark.parametrize(
    "data",
    [
        b"PatientID,finding\nA,yes\n",
        b"\xef\xbb\xbfPatientID,finding\r\nA,yes\r\n",
        b"PatientID;finding\nA;yes\n",
        b"PatientID\tfinding\nA\tyes\n",
        '"PatientID","finding"\n"A","yes"\n'.encode("utf-16"),
        b" PatientID , finding \n A , yes \n\n",
    ],
)
def test_the_usual_dialects_say_the_same(data) -> None:
    table = parse_labels(data)
    assert table.columns == ["finding"]
    assert table.rows[table.find({"PatientID": "A"})].labels == {"finding": "yes"}


def test_windows_text_keeps_its_letters() -> None:
    assert parse_labels("PatientID,befund\nA,ödem\n".encode("cp1252")).rows[0].labels == {"befund": "ödem"}


def test_the_most_specific_key_wins() -> None:
    table = parse_labels(
        b"SOPInstanceUID,file,StudyInstanceUID,AccessionNumber,PatientID,y\n"
        b"1.2,,,,,sop\n,a/b.dcm,,,,file\n,,1.9,,,study\n,,,77,,accession\n,,,,P,patient\n"
    )
    identity = {
        "SOPInstanceUID": "1.2",
        "file": "a/b.dcm",
        "StudyInstanceUID": "1.9",
        "AccessionNumber": "77",
        "PatientID": "P",
    }
    for key, answer in zip(list(identity), ["sop", "file", "study", "accession", "patient"], strict=True):
        assert table.rows[table.find(identity)].labels["y"] == answer
        del identity[key]


def test_a_row_filed_under_an_image_does_not_label_the_patients_other_images() -> None:
    table = parse_labels(b"SOPInstanceUID,PatientID,y\n1.2,P,1\n")
    assert reason_for(table, {"SOPInstanceUID": "1.3", "PatientID": "P"}) is Reason.NO_LABEL


def test_a_row_about_another_patient_is_a_mismatch() -> None:
    table = parse_labels(b"SOPInstanceUID,PatientID,y\n1.2,P,1\n")
    assert reason_for(table, {"SOPInstanceUID": "1.2", "PatientID": "Q"}) is Reason.MISMATCH
    assert table.find({"SOPInstanceUID": "1.2"}) == 0


def test_a_row_without_a_label_is_empty_and_one_missing_label_is_absent() -> None:
    table = parse_labels(b"file,PatientID,y,z\na,P,,\nb,P,,1\n")
    assert reason_for(table, {"file": "a"}) is Reason.LABEL_EMPTY
    assert table.rows[table.find({"file": "b"})].labels == {"z": "1"}


def test_file_names_match_however_they_are_composed_and_slashed() -> None:
    table = parse_labels("file,PatientID,y\n./a\\Mu\u0308ller.png,P,1\n".encode())
    assert table.find({"file": "a/M\u00fcller.png"}) == 0


def test_attributes_are_read_and_old_age_is_capped() -> None:
    row = parse_labels(b"PatientID,y,fold,sex,age,manufacturer,model,modality\nP,1,test,Male,97,ACME,X1,MR\n").rows[0]
    assert (row.fold, row.sex, row.age) == ("test", "M", 90)
    assert (row.manufacturer, row.model, row.modality) == ("ACME", "X1", "MR")


def test_the_same_line_twice_is_one_line() -> None:
    assert len(parse_labels(b"PatientID,y\nP,1\nP,1\n").rows) == 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "key column"),
        (b"name,y\nA,1\n", "key column"),
        (b"PatientID\nA\n", "at least one column"),
        (b"PatientID,y\n", "no line"),
        (b"PatientID,y\nA,1\nB,1,2\n", "Line 3"),
        (b"PatientID,y\nA,1\n,1\n", "Line 3"),
        (b"PatientID,y\nA,1\nB,2\nA,3\n", "Lines 2 and 4"),
        (b"PatientID,y,sex\nA,1,maybe\n", "Line 2"),
        (b"PatientID,y,age\nA,1,-3\n", "Line 2"),
        (b"PatientID,y,y\nA,1,2\n", "name of its own"),
        (b"PatientID,y,\nA,1,2\n", "name of its own"),
        (b"PatientID,y,sopinstanceuid\nA,1,1.2\n", "spell it 'SOPInstanceUID'"),
        (b"PatientID,y,Sex\nA,1,M\n", "spell it 'sex'"),
        (b"PatientID,y,Patient Name\nA,1,Doe\n", "identifies people"),
        (b'PatientID,y\nA,"1\n', "not CSV"),
        (b"PatientID,y\nA,\x81\x8d\n", "CSV UTF-8"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line(data, words) -> None:
    with pytest.raises(LabelsError, match=words):
        parse_labels(data)


def lines(column: list[str]) -> bytes:
    return b"PatientID,y\n" + b"".join(f"P{i},{value}\n".encode() for i, value in enumerate(column))


def test_a_column_that_tells_everyone_apart_is_refused() -> None:
    with pytest.raises(LabelsError, match="different values"):
        parse_labels(lines([f"note {i}" for i in range(40)]))
    with pytest.raises(LabelsError, match="different values"):
        parse_labels(lines([str(1_000_000 + i) for i in range(40)]))


def test_a_column_of_identifiers_is_refused() -> None:
    with pytest.raises(LabelsError, match=r"Line 2.*identifier"):
        parse_labels(b"PatientID,y\nMRN-1,MRN-1\nMRN-2,MRN-2\nMRN-3,MRN-3\n")


@pytest.mark.parametrize("name", ["fold", "manufacturer", "model", "modality"])
def test_an_attribute_that_tells_everyone_apart_is_refused(name) -> None:
    people = "".join(f"P{i},{i % 2},person {i}\n" for i in range(40))
    with pytest.raises(LabelsError, match=f"{name!r}.*different values"):
        parse_labels(f"PatientID,y,{name}\n{people}".encode())
    with pytest.raises(LabelsError, match=r"Line 2.*identifier"):
        parse_labels(f"PatientID,y,{name}\nMRN-1,1,MRN-1\nMRN-2,0,MRN-2\nMRN-3,1,MRN-3\n".encode())


def test_measurements_and_classes_are_welcome() -> None:
    assert parse_labels(lines([f"{i / 7:.3f}" for i in range(40)]))
    assert parse_labels(lines([f"class {i % 20}" for i in range(400)]))


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_a_table_or_a_labels_error(data) -> None:
    with suppress(LabelsError):
        assert parse_labels(data).rows


def test_a_missing_file_is_a_labels_error(tmp_path) -> None:
    with pytest.raises(LabelsError, match="cannot be read"):
        read_labels(tmp_path / "absent.csv")
