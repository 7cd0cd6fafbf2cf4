"""Tell a running broker about a new configuration, and make sure that it took it.

The imports of a new account are dead after one reload of nats-server 2.15 and live after the second, so a reload is repeated
until the broker itself reports every import of every silo. Connections of others are kept all the while.
"""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aggregator.consortium.office import Office
from aggregator.consortium.permissions import account, local, services
from protocol.consortium.records import Roster
from protocol.consortium.rosters import users
from protocol.errors import ConsortiumError

_TRIES = 5
_WAIT_S, _POLL_S, _ANSWER_S = 10.0, 0.05, 5.0


@dataclass(frozen=True)
class Reloaded:
    """How often the broker was told, how many silos' accounts answer, and after how many seconds."""

    times: int
    accounts: int
    seconds: float


def reload_broker(office: Office, roster: Roster) -> Reloaded | None:
    """Signal the broker until it has this roster; None if it does not run on this machine. Raises ConsortiumError."""
    pid = _pid(office)
    if pid is None:
        return None
    monitor = _Monitor(office.settings().monitor_port)
    started = time.monotonic()
    if monitor.ask("/varz").get("server_name") != f"fedward-{roster.consortium}":
        raise ConsortiumError("another broker answers on the monitoring port; see settings.json, then start ours.")
    problem = ""
    for times in range(1, _TRIES + 1):
        _reload_once(monitor, pid)
        problem = _missing(monitor, roster) or _uninvited(monitor, roster)
        if not problem:
            return Reloaded(times, len(roster.active), time.monotonic() - started)
    raise ConsortiumError(f"the broker was told {_TRIES} times, but {problem}. Look into its log, or start it anew.")


def _reload_once(monitor: _Monitor, pid: int) -> None:
    before = monitor.ask("/varz").get("config_load_time")
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        raise ConsortiumError(f"the broker (process {pid}) cannot be told: {error.strerror}. Run this as its user.") from error
    until = time.monotonic() + _WAIT_S
    while time.monotonic() < until:
        if monitor.ask("/varz").get("config_load_time") != before:
            return
        time.sleep(_POLL_S)
    raise ConsortiumError("the broker refused its new configuration and goes on with the old one; its log says why.")


def _missing(monitor: _Monitor, roster: Roster) -> str:
    """The first silo whose services are not live yet, in words; empty if all are."""
    for member in roster.active:
        wanted = {local(subject) for subject, _ in services(member.name)}
        try:
            found = monitor.ask(f"/subsz?subs=1&limit=1024&acc={account(member.name)}").get("subscriptions_list", [])
        except ConsortiumError:
            found = []
        if not wanted <= {entry.get("subject") for entry in found}:
            return f"the account of {member.name} does not answer"
    return ""


def _uninvited(monitor: _Monitor, roster: Roster) -> str:
    """A connection whose user is not in the roster, in words; empty if there is none."""
    known = {user for party in (roster.aggregator, *roster.active) for user in users(roster, party)}
    connections = monitor.ask("/connz?auth=1&limit=4096").get("connections", [])
    strangers = [entry["authorized_user"] for entry in connections if entry.get("authorized_user", "") not in (*known, "")]
    return f"{strangers[0]} is still connected" if strangers else ""


class _Monitor:
    """The broker's own figures, over HTTP on loopback."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open  # never through a proxy

    def ask(self, path: str) -> dict[str, Any]:
        try:
            with self._open(self._root + path, timeout=_ANSWER_S) as answer:
                value = json.loads(answer.read())
        except (OSError, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise ConsortiumError(f"the broker's monitoring port does not answer ({reason}). Is it still starting?") from error
        return value if isinstance(value, dict) else {}


def _pid(office: Office) -> int | None:
    path = Path(office.settings().folder) / "broker.pid"
    pid = 0
    try:
        pid = int(path.read_text())
        os.kill(pid, 0)
    except PermissionError:
        pass  # it runs as somebody else: the reload will say so
    except (OSError, ValueError):
        return None
    command = Path(f"/proc/{pid}/comm")  # a stale file may name somebody else's process by now
    if command.exists() and not command.read_text().startswith("nats-server"):
        return None
    return pid
