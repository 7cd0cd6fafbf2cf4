from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fedward.demo.phantoms import hospitals, write_hospitals
from fedward.demo.phantoms.sites import HARBOUR, VALLEY
from protocol.errors import InputError


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    small = tuple(replace(site, mix=replace(site.mix, patients=8)) for site in (HARBOUR, VALLEY))
    monkeypatch.setattr(hospitals, "SITES", small)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("tiny")
def test_same_seed_same_bytes_other_seed_other_patients(tmp_path: Path) -> None:
    for name, seed in (("one", 7), ("again", 7), ("other", 8)):
        write_hospitals(tmp_path / name, seed=seed)
    one, other = _bytes(tmp_path / "one"), _bytes(tmp_path / "other")
    assert one == _bytes(tmp_path / "again")
    assert {name for name in one.keys() & other.keys() if one[name] == other[name]} <= {
        "harbour/dicom/EXPORT.TXT",
        "valley/dicom/EXPORT.TXT",
    }


@pytest.mark.usefixtures("tiny")
def test_progress_counts_every_image_once(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    written = write_hospitals(tmp_path / "out", on_progress=lambda done, total: heard.append((done, total)))
    total = heard[0][1]
    assert heard == [(done, total) for done in range(1, total + 1)]
    assert total >= sum(hospital.n_images for hospital in written)


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("final")
    with pytest.raises(InputError, match="not empty"):
        write_hospitals(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
