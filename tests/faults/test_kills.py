"""SIGKILL of a silo, of the aggregator and of the broker at every phase of a secure round: jobs end as if nothing had been."""

from __future__ import annotations

import os
import random
import time
from collections import Counter

import pytest

from aggregator.service.queue import Ticket
from tests.faults.audit import audit
from tests.faults.cluster import PHASES, Cluster, plan_of
from tests.faults.instants import at

VICTIM = "west"
END_S = 150.0
"""After the last kill; a job whose processes all wait for each other is found by this."""
# Each target and each mechanism once; all nine pairs take six more minutes.
ALWAYS = {(VICTIM, "local"), ("aggregator", "distributed"), ("broker", "none")}
EVERYTHING = pytest.mark.skipif(not os.environ.get("FEDWARD_ALL_FAULTS"), reason="set FEDWARD_ALL_FAULTS=1 to try every pair")


def hurt(cluster: Cluster, target: str, mechanism: str) -> Ticket:
    """One job whose round n has its kill in the n-th phase, the last one at its commit."""
    ticket = cluster.submit(plan_of(mechanism))
    job = cluster.job_name(ticket)
    for number, phase in enumerate((*PHASES, "commit"), 1):
        at(cluster, ticket, job, number, phase)
        time.sleep(random.random() * 0.05)  # the instant itself is nobody's choice
        assert ticket.standing().state == "running", f"ended before {phase} of round {number}"
        strike(cluster, target)
    return ticket


def strike(cluster: Cluster, target: str) -> None:
    """Kill it; it is started again within a second, a silo by its parent."""
    cluster.kill(target)
    time.sleep(random.random() if target == "broker" else 0.0)
    cluster.again(target)


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> str:
    """The model of the plan without a mechanism, if nobody is killed."""
    ticket = cluster.submit(plan_of("none"))
    assert cluster.wait(ticket, END_S).state == "done"
    return audit(cluster, ticket).model


@pytest.mark.parametrize(
    ("target", "mechanism"),
    [
        pytest.param(target, mechanism, marks=() if (target, mechanism) in ALWAYS else EVERYTHING)
        for target in (VICTIM, "aggregator", "broker")
        for mechanism in ("none", "local", "distributed")
    ],
)
def test_a_job_bears_a_kill_in_every_phase_of_a_round(cluster: Cluster, undisturbed: str, target: str, mechanism: str) -> None:
    began = time.monotonic()
    ticket = hurt(cluster, target, mechanism)
    standing = cluster.wait(ticket, END_S)
    assert standing.state == "done", standing.reason
    found = audit(cluster, ticket)
    told(mechanism, target, time.monotonic() - began, found.attempts)
    # Nobody was left out of a round: with three hospitals a sum without one of them is not opened.
    assert not found.missing
    if mechanism == "none":  # masks cancel exactly, so nothing of all this shows in the model
        assert found.model == undisturbed


def test_a_job_bears_kills_of_anybody_at_any_time(cluster: Cluster) -> None:
    began = time.monotonic()
    ticket = cluster.submit(plan_of("distributed"))
    cluster.job_name(ticket)
    for target in random.sample([*cluster.names, "aggregator", "broker"], 5):
        time.sleep(random.random() * 4.0)
        if ticket.standing().state == "running":
            strike(cluster, target)
    standing = cluster.wait(ticket, END_S)
    assert standing.state == "done", standing.reason
    found = audit(cluster, ticket)
    told("distributed", "anybody", time.monotonic() - began, found.attempts)


def told(mechanism: str, target: str, seconds: float, attempts: Counter[int]) -> None:
    """For the table in docs/faults.md; seen with `pytest -rP`."""
    repeated = sum(attempts.values()) - len(attempts)
    print(f"{mechanism} | {target} | {len(attempts)} rounds, {repeated} repeated | {seconds:.0f} s")
