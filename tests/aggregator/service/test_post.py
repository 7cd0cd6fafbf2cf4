"""What one hospital gives the courier, or somebody puts on the share, never ends the aggregator."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from aggregator.service.post import Post
from protocol.governance.courier import Answer, Courier, File, answer, decode_ask, encode
from protocol.governance.pysyft.share import Share

NORTH = "north@demo.invalid"


class Hostile:
    """A transport whose only silo wants a file where a folder is, and a name that no disk takes."""

    silos = ("north",)

    def __init__(self, path: str) -> None:
        self.answer = encode(Answer((File(path, b"x"),), (), {}, ()))

    def exchange(self, asks: Mapping[str, bytes], _deadline_s: float) -> Iterator[tuple[str, bytes]]:
        for silo in asks:
            yield silo, self.answer


@pytest.mark.parametrize("path", [f"box/{NORTH}/collections", f"box/{NORTH}/collections/" + "x" * 300])
def test_a_file_that_the_disk_does_not_take_is_said_and_the_aggregator_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    (tmp_path / "box" / NORTH / "collections" / "skin").mkdir(parents=True)
    Post(tmp_path, Hostile(path), "demo", every_s=0.0).carry(["north"])  # type: ignore[arg-type]
    assert "north" in caplog.text


def test_a_share_that_cannot_be_read_is_said_and_the_aggregator_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Courier) -> None:
        raise PermissionError(13, "not allowed")

    monkeypatch.setattr(Courier, "ask", broken)
    Post(tmp_path, Hostile("x"), "demo", every_s=0.0).carry(["north"])  # type: ignore[arg-type]
    assert "could not be read" in caplog.text


class Hospitals:
    """A transport to hospitals with a share of their own each."""

    silos = ("north", "south", "west")

    def __init__(self, folder: Path) -> None:
        self.shares = {name: Share(folder / name) for name in self.silos}

    def exchange(self, asks: Mapping[str, bytes], _deadline_s: float) -> Iterator[tuple[str, bytes]]:
        for silo, ask in asks.items():
            yield silo, encode(answer(self.shares[silo], f"{silo}@demo.invalid", decode_ask(ask)))

    def found(self, silo: str) -> list[str]:
        share = self.shares[silo]
        return sorted(share.identify(path) for path in share.root.rglob("*") if path.is_file())


def test_a_report_goes_to_the_hospitals_that_took_part_and_is_nowhere_on_the_share(tmp_path: Path) -> None:
    office, hospitals = tmp_path / "office" / "share", Hospitals(tmp_path)
    office.mkdir(parents=True)
    results = tmp_path / "results"
    results.mkdir()
    rounds = [{"configured": ["north", "south", "west"], "aggregated": ["north", "south"]}, {"aggregated": ["south"]}]
    (results / "report.json").write_text(json.dumps({"rounds": rounds}))
    (results / "report.html").write_text("<html>")
    post = Post(office, hospitals, "demo", every_s=0.0)  # type: ignore[arg-type]
    post.lay_out("sha256:" + "a" * 64, results)
    post.carry(hospitals.silos)
    for silo in ("north", "south"):
        place = f"p2p/{silo}@demo.invalid/reports/{'a' * 64}"
        assert hospitals.found(silo) == [f"{place}/report.html", f"{place}/report.json"]
        share = hospitals.shares[silo]
        assert share.find(f"{place}/report.json").read_bytes() == (results / "report.json").read_bytes()
        assert share.find(place).parent.stat().st_mode & 0o077 == 0
    assert hospitals.found("west") == []
    assert not [path for path in office.rglob("*") if path.is_file()]
    post.carry(hospitals.silos)  # and it stays
    assert len(hospitals.found("north")) == 2


def test_the_office_takes_a_report_from_no_hospital_and_none_gets_anothers(tmp_path: Path) -> None:
    place = f"p2p/{NORTH}/reports/{'a' * 64}/report.json"
    (tmp_path / "share").mkdir()
    Post(tmp_path / "share", Hostile(place), "demo", every_s=0.0).carry(["north"])  # type: ignore[arg-type]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
