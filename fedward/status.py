"""How the coordinator's jobs stand, drawn for a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from aggregator.service.live import Live, SiloLive, read_live
from aggregator.service.queue import Standing, Ticket
from aggregator.service.room import LEAST, free

_COLOURS = {"queued": "dim", "running": "bold cyan", "done": "green", "failed": "bold red", "cancelled": "yellow"}
_LATE = 0.8
"""A silo that has used so much of its time is called late."""
_FRESH_S = 30.0


def draw(tickets: Sequence[Ticket]) -> RenderableType:
    """A table of jobs, and of the running one what each silo does."""
    if not tickets:
        return Text("No job was submitted. `fedward aggregator submit PLAN`.")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("job", "state", "round", "AUROC", "epsilon", "since", ""):
        table.add_column(heading, overflow="fold")
    running: Live | None = None
    for ticket in tickets:
        standing, live = ticket.standing(), read_live(ticket.live)
        running = live if standing.state == "running" else running
        row = (
            ticket.name,
            Text(standing.state, style=_COLOURS[standing.state]),
            f"{live.committed} of {live.rounds}" if live and live.rounds else "",
            "" if live is None or live.auroc is None else f"{live.auroc:.3f}",
            "" if live is None or live.epsilon is None else f"{live.epsilon:.2f}",
            _ago(time.time() - (standing.ended_at or standing.started_at or standing.submitted_at)),
            Text(_note(ticket, standing)),
        )
        table.add_row(*row)
    if running is not None:
        return Group(table, Text(), _silos(running))
    last, why = tickets[-1], tickets[-1].standing()
    if why.state != "failed" or "\n" not in why.reason:
        return table
    return Group(table, Text(), Text(f"why {last.name} failed: {why.reason}"))


def _note(ticket: Ticket, standing: Standing) -> str:
    """The first line of why it stands where it stands."""
    if standing.state == "running" and free(ticket.folder) < LEAST:  # such a disk takes no note of it either
        return "the disk is full: it waits for room"
    if standing.reason:
        return standing.reason.splitlines()[0].removesuffix(":")
    return "its end was asked for" if ticket.cancelled else ""


def _silos(live: Live) -> RenderableType:
    used = time.time() - live.since
    late = live.deadline_s > 0 and used > _LATE * live.deadline_s
    title = Text(f"{live.step}, for {_ago(used)}", style="bold")
    if time.time() - live.at > _FRESH_S:
        title.append(f"   nothing new for {_ago(time.time() - live.at)}", style="dim")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("hospital", "broker", "now"):
        table.add_column(heading, overflow="fold")
    for name, one in sorted(live.silos.items()):
        table.add_row(name, _presence(one), Text("late", style="bold yellow") if late and one.step == "asked" else one.step)
    return Group(title, table)


def _presence(one: SiloLive) -> Text:
    style = {"alive": "green", "lost": "bold red", "never seen": "bold red"}.get(one.presence, "yellow")
    silent = f" ({_ago(one.silent_s)} silent)" if one.silent_s is not None and one.presence != "alive" else ""
    return Text(one.presence + silent, style=style)


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
