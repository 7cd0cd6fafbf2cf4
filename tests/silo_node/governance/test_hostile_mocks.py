"""A mock that a hospital made to break the researcher's run is refused, and nothing of it stays."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from protocol.errors import StoreError
from silo_node.governance.mock import open_mock


def _locked(data: bytes) -> bytes:
    """The zip with every entry marked as under a password."""
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(mark) + place
        data = data[:at] + b"\x01" + data[at + 1 :]
    return data


def _garbled(data: bytes) -> bytes:
    """The zip with other bytes where the compressed ones were."""
    at = data.index(b"manifest.json") + len(b"manifest.json")
    return data[:at] + b"\xff" * 20 + data[at + 20 :]


@pytest.mark.parametrize("how", [_locked, _garbled])
def test_a_zip_that_cannot_be_unpacked_is_refused_and_leaves_nothing(tmp_path: Path, how: object) -> None:
    path = tmp_path / "mock.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", bytes(range(256)) * 4)
    path.write_bytes(how(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(StoreError, match="cannot be unpacked"):
        open_mock(path, tmp_path / "mock")
    assert not (tmp_path / "mock").exists()
