"""`fedward silo` on a screen: what it says of keys, lines and errors, and that a hospital's texts are shown as they are."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fedward.cli.silo import app
from protocol.errors import FedwardError, LabelsError, StoreError
from tests.conftest import tiny_store


def invoke(*words: object):
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, [str(word) for word in words])


@pytest.fixture
def command(tmp_path: Path) -> list[object]:
    """An import of two pictures; one more line than files."""
    (tmp_path / "source").mkdir()
    for i in range(2):
        Image.fromarray(np.full((4, 5), i, np.uint8)).save(tmp_path / "source" / f"{i}.png")
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "PatientID", "finding", "fold"])
        writer.writerows([f"{i}.png", f"P{i}", ":100: [bold]", ":smile:"] for i in range(3))
    options = ["--labels", tmp_path / "labels.csv", "--store", tmp_path / "store", "--key", tmp_path / "key"]
    return ["import", tmp_path / "source", *options]


def test_a_new_key_is_said_on_stderr_and_an_old_one_is_not(tmp_path: Path, command: list[object]) -> None:
    first = invoke(*command)
    assert first.exit_code == 0
    assert f"A new pseudonym key was made: {tmp_path / 'key'}. Back it up" in first.stderr
    command[5] = tmp_path / "second"
    assert "pseudonym key" not in invoke(*command).output


def test_one_line_is_one_line(command: list[object]) -> None:
    output = invoke(*command).output
    assert "1 line of the labels found no file" in output


def test_an_error_before_the_first_file_leaves_no_bar(tmp_path: Path, command: list[object]) -> None:
    (tmp_path / "labels.csv").write_text("nothing\n")
    result = invoke(*command)
    assert isinstance(result.exception, LabelsError)
    assert result.output == ""


def test_texts_of_the_hospital_are_shown_as_they_are(tmp_path: Path, command: list[object]) -> None:
    command[5] = tmp_path / "store :100: [bold]"
    imported = invoke(*command)
    assert "store :100: [bold]" in imported.output
    shown = invoke("show", command[5])
    assert shown.exit_code == 0
    for words in ("store :100: [bold]", ":100: [bold]", ":smile:"):
        assert words in shown.output


@pytest.mark.parametrize("what", ["absent", "a file", "a folder", "/", "unreadable"])
def test_a_store_that_cannot_be_shown_is_a_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    path = tmp_path / "store"
    match what:
        case "a file":
            path.write_text("x")
        case "a folder":
            path.mkdir()
        case "/":
            path = Path("/")
        case "unreadable":
            tiny_store(path, seed=1, n=4)
            deny(monkeypatch, path)
        case _:
            pass
    result = invoke("show", path)
    assert isinstance(result.exception, StoreError), result.output
    assert result.exception.exit_code == 3


@pytest.mark.parametrize("place", [1, 3, 7])
def test_an_import_from_what_cannot_be_read_says_so_itself(
    monkeypatch: pytest.MonkeyPatch, command: list[object], place: int
) -> None:
    Path(str(command[7])).write_bytes(bytes(32))
    deny(monkeypatch, Path(str(command[place])))
    result = invoke(*command)
    assert isinstance(result.exception, FedwardError), result.output
    assert "Usage" not in result.output


def deny(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """What mode 000 does to people who are not root; the tests may be."""
    access, scandir, opened = os.access, os.scandir, Path.open

    def refused(found: object) -> bool:
        return str(found).startswith(str(path))

    def scan(found: object):
        if refused(found):
            raise PermissionError(13, "Permission denied", str(found))
        return scandir(found)

    def open_(found: Path, *arguments, **options):
        if refused(found):
            raise PermissionError(13, "Permission denied", str(found))
        return opened(found, *arguments, **options)

    monkeypatch.setattr(os, "access", lambda found, mode, **options: not refused(found) and access(found, mode, **options))
    monkeypatch.setattr(os, "scandir", scan)
    monkeypatch.setattr(Path, "open", open_)
