"""What the aggregator waits for during one exchange, and what becomes of each silo. A state machine without I/O or clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.transport.base import Failure
from protocol.transport.nats.heartbeat import Notice
from protocol.transport.nats.presence import Presence

BUSY = Failure("busy", "still at work on an earlier request whose deadline has passed")


@dataclass(slots=True)
class Asked:
    """One silo's request: its transfer, what a reply must name, its sequence, when it lay whole in the broker, or why not."""

    request: str
    reference: str
    sequence: int
    sent: float | None = None
    unsent: str | None = None
    repeated: bool = False


class Waiting:
    """The silos of one exchange that have neither answered nor failed.

    A silo has `deadline_s` from when its request lay in the broker. Before that ends it is given up only if it was never seen
    since the aggregator connected, or after `patience_s` of silence; a silo that was seen may come back and still be in time.
    """

    def __init__(self, asked: dict[str, Asked], deadline_s: float, patience_s: float) -> None:
        self.asked = asked
        self._deadline_s, self._patience_s = deadline_s, patience_s

    def sent(self, asked: Mapping[str, Asked], now: float, failure: str | None) -> None:
        """The broker has the whole request for these, or did not get it: `failure` says why."""
        for silo, one in asked.items():
            if self.asked.get(silo) is one:  # else it is done, or was asked again meanwhile
                one.sent, one.unsent = (now, None) if failure is None else (None, failure)

    def done(self, silo: str) -> Asked:
        """Nothing more is awaited from this silo."""
        return self.asked.pop(silo)

    def ready(self, presence: Presence) -> tuple[str, Notice] | None:
        """The silo whose reply has waited longest, among those that were in time."""
        found = [
            (notice[1], silo, notice[0])
            for silo, one in self.asked.items()
            if (notice := presence.notice(silo, one.request)) is not None
            and (one.sent is None or notice[1] <= one.sent + self._deadline_s)
        ]
        return min(found, key=lambda item: item[:2])[1:] if found else None

    def given_up(self, presence: Presence, now: float) -> tuple[str, Failure] | None:
        """A silo that is to be given up now, and why."""
        for silo, one in self.asked.items():
            silent = presence.silent_s(silo, now)
            if one.unsent is not None:
                return silo, Failure("unreachable", one.unsent)
            if one.sent is not None and now >= one.sent + self._deadline_s:
                return silo, self._late(silo, one, presence, now)
            if presence.latest(silo) is None and presence.lost(silo, now):
                return silo, Failure("unreachable", f"not heard since the aggregator connected {silent:.0f} s ago")
            if silent > self._patience_s:
                return silo, Failure("unreachable", f"not heard for {silent:.0f} s")
        return None

    def refused(self, presence: Presence) -> str | None:
        """A silo that has answered later requests than this one and will ignore it: the aggregator's clock went back."""
        for silo, one in self.asked.items():
            last = presence.latest(silo)
            if last is None or one.repeated or one.sent is None or last.sequence < one.sequence:
                continue
            if last.working != one.request and presence.notice(silo, one.request) is None:
                return silo
        return None

    def next_look_s(self, now: float) -> float:
        """After how many seconds to look again even if nothing is heard."""
        ends = [one.sent + self._deadline_s - now for one in self.asked.values() if one.sent is not None]
        return max(0.0, min([1.0, *ends]))

    def _late(self, silo: str, one: Asked, presence: Presence, now: float) -> Failure:
        if presence.latest(silo) is None or presence.lost(silo, now):
            return Failure("unreachable", f"not heard for {presence.silent_s(silo, now):.0f} s")
        last = presence.latest(silo)
        if last is not None and last.working and last.working != one.request:
            return BUSY
        return Failure("timeout", f"no reply within {self._deadline_s:g} s")
