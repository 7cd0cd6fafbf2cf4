"""A job's first entry in its journal: its name, its plan and its silos, compared on every later opening."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence

from aggregator.journal import Journal
from protocol.errors import JournalError
from protocol.plan import Plan
from protocol.plan.federation import refuse_unnamed


def claim(journal: Journal, plan: Plan, silos: tuple[str, ...], environment: Mapping[str, str]) -> str:
    """Write plan and roster on the first opening; compare them on every later one. Returns the job's name.

    Raises JournalError if the folder holds another job, PlanError if the plan declares no weight for a silo.
    """
    refuse_unnamed(plan.federation, silos)
    known = journal.bytes("plan")
    if known is None:
        job = f"{plan.name}-{secrets.token_hex(4)}"
        journal.remember_all(
            {"job": job.encode(), "plan": plan.canonical, "environment": dict(environment),
             "silos": list(silos), "created_at": time.time()}
        )  # fmt: skip
    elif known != plan.canonical:
        raise JournalError("this folder holds a job with another plan. A changed plan is a new job: choose another --out.")
    elif (had := journal.fact("silos", list[str])) != list(silos):
        raise JournalError(_other_silos(had or [], silos))
    return (journal.bytes("job") or b"").decode()


def _other_silos(had: Sequence[str], now: Sequence[str]) -> str:
    gone, new = sorted(set(had) - set(now)), sorted(set(now) - set(had))
    changes = [f"{', '.join(names)} {what}" for names, what in ((gone, "left"), (new, "came")) if names]
    since = f"; since then {' and '.join(changes)}" if changes else ""
    return (
        f"this job began with the silos {', '.join(had)}{since}. A job keeps its silos to the end: who is hidden among whom is "
        "agreed with them. With `fedward run` name the same, in that order; in a consortium submit the plan again: it is a new "
        "job, and what this one cost stays paid."
    )
