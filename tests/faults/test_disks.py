"""A full disk, at a silo and at the aggregator: a named failure, nothing uncharged leaves, and with room again jobs run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.audit import audit, covered, entries
from tests.faults.cluster import Cluster, plan_of, wait_for
from tests.faults.instants import at

SILO_BYTES, JOBS_BYTES = 4 << 20, 8 << 20


def mounted(folder: Path, size: int) -> None:
    """A small disk of its own at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")


def fill(folder: Path) -> Path:
    """To the last byte; delete the file that is returned to make room again."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for block in (1 << 16, 1 << 10, 1):
            try:
                while True:
                    file.write(bytes(block))
            except OSError:
                continue
    return ballast


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster in which west's state and ledger, and the aggregator's jobs, lie on small disks."""
    made = Cluster(tmp_path_factory.mktemp("tight"), ("north", "south", "west"))
    disks = {disk_of(made, "west"): SILO_BYTES, jobs(made): JOBS_BYTES}
    try:
        for folder, size in disks.items():
            mounted(folder, size)
        made.start()
        yield made
    finally:
        made.stop()
        for folder in disks:
            subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def disk_of(cluster: Cluster, name: str) -> Path:
    return cluster.ledgers[name].parent


def jobs(cluster: Cluster) -> Path:
    return cluster.layout.office.folder / "jobs"


@pytest.mark.parametrize("mechanism", ["none", "local", "distributed"])
def test_a_silo_whose_disk_is_full_refuses_and_what_it_sent_is_paid_for(tight: Cluster, mechanism: str) -> None:
    ticket = tight.submit(plan_of(mechanism))
    job = tight.job_name(ticket)
    at(tight, ticket, job, 2, "Advertise")
    ballast = fill(disk_of(tight, "west"))
    try:
        standing = tight.wait(ticket, 120.0)
    finally:
        ballast.unlink()
    assert standing.state == "failed"
    assert "west" in standing.reason
    # Under a private plan the aggregator is not told why; the hospital is.
    assert any("No space left" in line.get("reason", "") for line in tight.log_lines("west") if line.get("error"))
    if mechanism != "none":
        for name in tight.names:
            covered(tight, name, job, mechanism)
    again = tight.submit(plan_of(mechanism))
    assert tight.wait(again, 120.0).state == "done"
    assert not audit(tight, again).missing


@pytest.mark.parametrize("phase", ["TrainMasked", "Reveal"])
def test_a_job_whose_disk_is_full_at_the_aggregator_waits_says_so_and_goes_on_when_there_is_room(
    tight: Cluster, phase: str
) -> None:
    ticket = tight.submit(plan_of("distributed"))
    job = tight.job_name(ticket)
    at(tight, ticket, job, 2, phase)
    before = told(tight)
    ballast = fill(jobs(tight))
    try:
        wait_for(lambda: told(tight) > before, "the job's wait for room", 120.0)
        assert ticket.standing().state == "running"
        assert "the disk is full" in status(tight)
        charged = {name: len(entries(tight, name)) for name in tight.names}
        time.sleep(5.0)
        tight.processes.check()  # the aggregator is still there
        assert told(tight) == before + 1
        assert charged == {name: len(entries(tight, name)) for name in tight.names}  # nobody pays while it waits
    finally:
        ballast.unlink()
    assert tight.wait(ticket, 120.0).state == "done"
    assert ticket.standing().reason == ""
    assert not audit(tight, ticket).missing


def told(cluster: Cluster) -> int:
    """How often the aggregator's log says that a job waits for room."""
    return sum(line.get("event") == "waiting for room" for line in cluster.log_lines("aggregator"))


def status(cluster: Cluster) -> str:
    command = [sys.executable, "-m", "fedward", "aggregator", "status", "--folder", str(cluster.layout.office.folder)]
    wide = os.environ | {"COLUMNS": "200"}
    shown = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=wide)
    return shown.stdout + shown.stderr
