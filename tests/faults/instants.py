"""When to strike: the phase of a secure round that is going on, as the silos' logs and the job's state show it."""

from __future__ import annotations

from aggregator.service.queue import Ticket
from tests.faults.cluster import PHASES, Cluster, wait_for


def at(cluster: Cluster, ticket: Ticket, job: str, number: int, phase: str) -> None:
    """Come back in round `number`, when the first hospital has answered `phase`; at `commit` when all have answered the last.

    Also if the job has ended or is further: what was to be hurt then is hurt too late, and the caller sees it.
    """
    before, enough = (PHASES[-1], len(cluster.names)) if phase == "commit" else (phase, 1)

    def answered() -> bool:
        if ticket.standing().state != "running":
            return True
        logs = [cluster.requests(name, job) for name in cluster.names]
        return sum(any(one["round"] >= number and one["kind"] == before for one in log) for log in logs) >= enough

    wait_for(answered, f"{phase} of round {number}", 150.0, lambda: str(cluster.live(ticket)))
