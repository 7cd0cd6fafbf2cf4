"""Killed at any time, the same import goes on and ends with the same store."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from dicom_phantoms import cohort, ensure_key

from protocol.errors import StoreError
from silo_node.cohort import CohortStore
from silo_node.cohort.pixels import PixelFile
from silo_node.intake import ImportSummary, import_folder, importer, journal

N = 200
SCRIPT = """
    import sys, time
    from pathlib import Path
    from silo_node.intake import import_folder
    folder = Path(sys.argv[1])
    import_folder(folder / "source", folder / "labels.csv", folder / "store", key=folder / "key", workers=1,
                  on_progress=lambda done, total: time.sleep(0.003))
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    cohort(tmp_path, N)
    ensure_key(tmp_path / "key")
    return tmp_path


def run(folder: Path, name: str = "store", **options) -> ImportSummary:
    labels = folder / "labels.csv"
    return import_folder(folder / "source", labels, folder / name, key=folder / "key", workers=1, **options)


class Killed(BaseException):
    """Stands for a SIGKILL where the test wants to choose the instant."""


def killed_after(files: int):
    def on_progress(done: int, total: int) -> None:
        if done == files:
            raise Killed

    return on_progress


def test_an_interrupt_stops_the_decoders_and_keeps_what_is_done(folder, monkeypatch) -> None:
    undisturbed = run(folder, "undisturbed").digest
    started: list[subprocess.Popen] = []
    popen = subprocess.Popen

    def remembered(*arguments, **options) -> subprocess.Popen:
        started.append(popen(*arguments, **options))
        return started[-1]

    def interrupt(done: int, total: int) -> None:
        if done == 150:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", remembered)
    with pytest.raises(KeyboardInterrupt):
        import_folder(
            folder / "source", folder / "labels.csv", folder / "store", key=folder / "key", workers=2, on_progress=interrupt
        )
    assert [process.poll() is None for process in started] == [False, False]
    assert not (folder / "store").exists()
    summary = run(folder)
    assert (summary.digest, summary.resumed) == (undisturbed, 150)


def test_sigkill_at_several_instants_changes_nothing(folder) -> None:
    undisturbed = run(folder, "undisturbed").digest
    progress = folder / "store.partial" / "journal.jsonl"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    kills = 0
    for files in (1, 64, 128):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), str(folder)], env=environment, start_new_session=True
        )
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            if progress.exists() and progress.read_bytes().count(b"\n") > files:
                break
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 3
    notices: list[str] = []
    summary = run(folder, on_notice=notices.append)
    assert summary.digest == undisturbed
    assert summary.resumed >= 128
    assert f"{summary.resumed} of {N} files are done" in notices[0]


@pytest.mark.parametrize("cut", [1, 5000])
def test_a_power_cut_that_loses_the_end_of_either_file_changes_nothing(folder, cut) -> None:
    undisturbed = run(folder, "undisturbed").digest
    for name in ("journal.jsonl", "store/pixels.bin"):
        with pytest.raises(Killed):
            run(folder, on_progress=killed_after(150))
        file = folder / "store.partial" / name
        data = file.read_bytes()
        file.write_bytes(data[:-cut])
        with pytest.raises(Killed):
            run(folder, on_progress=killed_after(151))
        file.write_bytes(data[: len(data) // 2] + b"\0" * cut + data[len(data) // 2 + cut :])
    assert run(folder).digest == undisturbed


@pytest.mark.parametrize("change", ["file", "labels", "key", "values"])
def test_changed_inputs_begin_again_and_say_so(folder, change) -> None:
    with pytest.raises(Killed):
        run(folder, on_progress=killed_after(150))
    options: dict[str, object] = {}
    match change:
        case "file":
            (folder / "source" / "00007.dcm").unlink()
        case "labels":
            text = (folder / "labels.csv").read_text()
            (folder / "labels.csv").write_text(text.replace(",train", ",validation", 1))
        case "key":
            (folder / "key").write_bytes(bytes(32))
        case _:
            options["values"] = "modality"
    notices: list[str] = []
    summary = run(folder, on_notice=notices.append, **options)
    assert summary.resumed == 0
    assert "beginning again" in notices[0]
    assert summary.digest == run(folder, "undisturbed", **options).digest


def test_a_full_disk_is_said_clearly_and_costs_nothing(folder, monkeypatch) -> None:
    undisturbed = run(folder, "undisturbed").digest
    flush = PixelFile.flush

    def full(self: PixelFile, *, durably: bool = False) -> None:
        if self.size > 20_000:
            self._file = Full(self._file)
        flush(self, durably=durably)

    class Full:
        def __init__(self, file) -> None:
            self._inner = file

        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            self._inner.close()

    monkeypatch.setattr(PixelFile, "flush", full)
    with pytest.raises(StoreError, match="disk of the cohort store is full"):
        run(folder)
    monkeypatch.undo()
    summary = run(folder)
    assert summary.digest == undisturbed


def test_two_imports_to_one_store_do_not_meet(folder) -> None:
    with journal.locked(folder / "store.partial"), pytest.raises(StoreError, match="Another import"):
        run(folder)
    assert run(folder).n_samples == N


def test_a_kill_after_sealing_loses_nothing(folder, monkeypatch) -> None:
    undisturbed = run(folder, "undisturbed").digest

    def kill(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(importer, "publish", kill)
    with pytest.raises(Killed):
        run(folder)
    monkeypatch.undo()
    assert not (folder / "store").exists()
    summary = run(folder)
    assert (summary.digest, summary.resumed) == (undisturbed, N)
    assert CohortStore.open(folder / "store").digest == undisturbed
    assert not (folder / "store.partial").exists()
