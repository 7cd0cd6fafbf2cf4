"""What one hospital gives the courier, or somebody puts on the share, never ends the aggregator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from aggregator.service.post import Post
from protocol.governance.courier import Answer, Courier, File, encode

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
