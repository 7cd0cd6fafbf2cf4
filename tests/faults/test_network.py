"""A network that is away for twenty seconds, for all or for one: the round waits, nothing is lost, nobody is left out."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.faults.audit import audit
from tests.faults.cluster import PHASES, Cluster, plan_of
from tests.faults.instants import at
from tests.protocol.relay import Relay

CUT_S = 20.0


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that keeps its connections and hears nothing: what a dead line looks like from both ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_broker_that_nobody_reaches_for_twenty_seconds_delays_and_loses_nothing(cluster: Cluster) -> None:
    ticket = cluster.submit(plan_of("distributed"))
    job = cluster.job_name(ticket)
    at(cluster, ticket, job, 2, "TrainMasked")
    with stopped(cluster.pid("broker")):
        time.sleep(CUT_S)
    assert cluster.wait(ticket, 120.0).state == "done"
    found = audit(cluster, ticket)
    assert not found.missing
    assert set(found.attempts.values()) == {1}


def test_a_hospital_that_is_cut_off_for_twenty_seconds_is_waited_for(cluster: Cluster) -> None:
    url = cluster.folder / "silos" / "west" / "kit" / "url"
    direct = url.read_text()
    with closing(Relay(cluster.layout.broker_port)) as relay:
        url.write_text(f"tls://localhost:{relay.port}\n")
        cluster.reborn("west")
        try:
            ticket = cluster.submit(plan_of("none"))
            job = cluster.job_name(ticket)
            at(cluster, ticket, job, 3, PHASES[1])
            relay.hole()
            time.sleep(CUT_S)
            relay.heal()
            assert cluster.wait(ticket, 120.0).state == "done"
            assert not audit(cluster, ticket).missing
        finally:
            url.write_text(direct)
            cluster.reborn("west")
