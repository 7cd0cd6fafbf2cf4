"""How the aggregator is, on loopback: is the broker reached, who is there, how many jobs wait."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from aggregator.service.live import Presence
from aggregator.service.queue import Queue
from protocol.service_health import HealthPage


@contextmanager
def health_page(
    port: int, folder: Path, connected: Callable[[], bool], presence: Presence, room: Callable[[], bool] = lambda: True
) -> Iterator[HealthPage | None]:
    """Meanwhile the page answers on `port`; 0 means none. Raises InputError if the port is taken.

    `room`: whether no job waits for the disk.
    """
    if not port:
        yield None
        return
    jobs = folder / "jobs"

    def readiness() -> Mapping[str, bool]:
        """What must hold for a job to run now. Hospitals that are away are no fault of this service."""
        writable = os.access(jobs if jobs.exists() else folder, os.W_OK)
        return {"broker": connected(), "jobs": writable, "room": room()}

    with closing(HealthPage(port, readiness, lambda: _metrics(connected(), room(), presence(), Queue(folder)))) as page:
        yield page


def _metrics(connected: bool, room: bool, presence: Mapping[str, tuple[str, float | None]], queue: Queue) -> bytes:
    """Prometheus text, counted anew for each reader."""
    own = CollectorRegistry()
    Gauge("fedward_broker_connected", "1 while the broker is reached", registry=own).set(connected)
    Gauge("fedward_waiting_for_room", "1 while a job waits because the disk is full", registry=own).set(not room)
    silos = Gauge("fedward_silo_alive", "1 while the silo is heard", ["silo"], registry=own)
    for silo, (state, _) in presence.items():
        silos.labels(silo).set(state == "alive")
    jobs = Gauge("fedward_jobs", "Jobs by state", ["state"], registry=own)
    for state, count in Counter(ticket.standing().state for ticket in queue.tickets()).items():
        jobs.labels(state).set(count)
    return generate_latest(own)
