"""Who is there: what the heartbeats say, and for how long a silo has been silent. A state machine without I/O or clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from protocol.transport.nats.heartbeat import Heartbeat, Notice

LOST_AFTER_S = 25.0
_REMEMBERED = 16


@dataclass(frozen=True, slots=True)
class Liveness:
    """How a silo stands. `seconds` since it was last heard, None if never; `working`: whether it has a request in hand."""

    state: Literal["alive", "lost", "leaving", "never seen"]
    seconds: float | None
    working: bool


@dataclass(slots=True)
class _Silo:
    heard: float | None = None
    last: Heartbeat | None = None
    counts: dict[str, int] = field(default_factory=dict)
    notices: dict[str, tuple[Notice, float]] = field(default_factory=dict)


class Presence:
    """All silos of a roster. Times are seconds of one monotonic clock.

    Silence is counted only while the aggregator itself is connected: an outage of the broker is nobody's absence.
    """

    def __init__(self, silos: Iterable[str], now: float, lost_after_s: float = LOST_AFTER_S) -> None:
        self._silos = {silo: _Silo() for silo in silos}
        self._since: float | None = now
        self._lost_after_s = lost_after_s

    def connected(self, now: float) -> None:
        """The aggregator can hear (again)."""
        self._since = now

    def disconnected(self) -> None:
        """The aggregator hears nobody."""
        self._since = None

    def observe(self, heartbeat: Heartbeat, now: float) -> bool:
        """Note a heartbeat that `open_heartbeat` has let through; False if it is a repetition or from a stranger."""
        silo = self._silos.get(heartbeat.silo)
        if silo is None or heartbeat.count <= silo.counts.get(heartbeat.boot, -1):
            return False
        silo.counts[heartbeat.boot] = heartbeat.count
        silo.heard, silo.last = now, heartbeat
        if heartbeat.replied is not None:
            silo.notices.setdefault(heartbeat.replied.request, (heartbeat.replied, now))
        _shorten(silo.counts)
        _shorten(silo.notices)
        return True

    def latest(self, silo: str) -> Heartbeat | None:
        """The silo's newest heartbeat."""
        return self._silos[silo].last

    def notice(self, silo: str, request: str) -> tuple[Notice, float] | None:
        """What the silo said about its reply to `request`, and when it was first heard."""
        return self._silos[silo].notices.get(request)

    def silent_s(self, silo: str, now: float) -> float:
        """For how many seconds it could have been heard and was not."""
        if self._since is None:
            return 0.0
        return now - max(self._silos[silo].heard or self._since, self._since)

    def lost(self, silo: str, now: float) -> bool:
        """Whether it has been silent for too long, or from the start."""
        return self.silent_s(silo, now) > self._lost_after_s

    def liveness(self, now: float) -> dict[str, Liveness]:
        """How each silo stands."""
        return {name: self._liveness(name, silo, now) for name, silo in self._silos.items()}

    def _liveness(self, name: str, silo: _Silo, now: float) -> Liveness:
        if silo.heard is None or silo.last is None:
            return Liveness("never seen", None, False)
        lost = self.lost(name, now)
        state: Literal["alive", "lost", "leaving"] = "lost" if lost else "leaving" if silo.last.state == "leaving" else "alive"
        return Liveness(state, now - silo.heard, bool(silo.last.working) and state == "alive")


def _shorten(remembered: dict[str, Any]) -> None:
    while len(remembered) > _REMEMBERED:
        del remembered[next(iter(remembered))]
