"""The demo without its planted bias: only women at St Brigid are imaged otherwise, everything else is the same byte by byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from fedward.demo.phantoms import Hospital, hospitals, write_hospitals
from fedward.demo.phantoms.sites import FAIR, SITES, ST_BRIGID, VALLEY, unbiased


@pytest.fixture
def twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Hospital], dict[str, Hospital]]:
    small = tuple(replace(site, mix=replace(site.mix, patients=12), misfits=()) for site in (ST_BRIGID, VALLEY))
    monkeypatch.setattr(hospitals, "SITES", small)
    planted = write_hospitals(tmp_path / "planted")
    twin = write_hospitals(tmp_path / "twin", planted_bias=False)
    return {one.name: one for one in planted}, {one.name: one for one in twin}


def _files(hospital: Hospital) -> dict[str, bytes]:
    found = {str(path.relative_to(hospital.folder)): path.read_bytes() for path in hospital.folder.rglob("*") if path.is_file()}
    assert found
    return found


def test_only_women_at_st_brigid_are_imaged_otherwise(twins: tuple[dict[str, Hospital], dict[str, Hospital]]) -> None:
    planted, twin = (_files(one["st-brigid"]) for one in twins)
    assert planted.keys() == twin.keys()
    differing = {name for name in planted if planted[name] != twin[name]}
    women = {
        name
        for name in planted
        if name.endswith(".dcm")
        and pydicom.dcmread(twins[0]["st-brigid"].folder / name, stop_before_pixels=True).PatientSex == "F"
    }
    assert differing == women
    assert len(women) < len(planted)
    assert women


def test_every_other_hospital_is_the_same(twins: tuple[dict[str, Hospital], dict[str, Hospital]]) -> None:
    assert _files(twins[0]["valley"]) == _files(twins[1]["valley"])


def test_the_twin_says_nothing_of_a_bias(twins: tuple[dict[str, Hospital], dict[str, Hospital]]) -> None:
    assert "BIAS" in twins[0]["st-brigid"].description
    assert all("BIAS" not in one.description and one.description for one in twins[1].values())


def test_hospitals_without_a_bias_are_their_own_twins() -> None:
    assert [site for site in SITES if unbiased(site) == site] == [site for site in SITES if site.women == FAIR]
    assert unbiased(ST_BRIGID).women == FAIR
