"""A full disk, at a silo and at the aggregator: a named failure, nothing uncharged leaves, and with room again jobs run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.errors import FederationError
from tests.faults.audit import audit, covered
from tests.faults.cluster import Cluster, plan_of
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
def test_an_aggregator_whose_disk_is_full_says_so_and_goes_on_when_there_is_room(tight: Cluster, phase: str) -> None:
    ticket = tight.submit(plan_of("distributed"))
    job = tight.job_name(ticket)
    at(tight, ticket, job, 2, phase)
    ballast = fill(jobs(tight))
    try:
        with pytest.raises(FederationError, match="aggregator ended by itself") as ended:
            tight.wait(ticket, 120.0)
    finally:
        ballast.unlink()
    assert "No space left" in str(ended.value) or "full" in str(ended.value)
    tight.again("aggregator")
    assert tight.wait(ticket, 120.0).state == "done"
    assert not audit(tight, ticket).missing
