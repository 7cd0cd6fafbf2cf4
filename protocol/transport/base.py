"""The seam: the aggregator sends one request to each silo and gets a reply or a typed failure from each, by a deadline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from protocol.errors import TransportError


class Handler(Protocol):
    """The silo's side: one request in, one reply out; it answers every request and raises nothing.

    What came over a network and is larger than a mebibyte may be a read-only memoryview, here and in `exchange`.
    """

    def __call__(self, request: bytes, /) -> bytes:
        """Answer `request`."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a silo gave no reply."""

    kind: Literal["timeout", "busy", "unreachable", "crashed"]
    reason: str


class Transport(Protocol):
    """The aggregator's side."""

    @property
    def silos(self) -> tuple[str, ...]:
        """The silos this transport reaches, in the order of the roster."""

    def exchange(self, requests: Mapping[str, bytes], deadline_s: float) -> Iterator[tuple[str, bytes | Failure]]:
        """Send each silo its request; yield each silo once, as soon as its reply or failure is known.

        `deadline_s` is what each silo has to answer in, in seconds from when it could start. A reply that comes later is
        dropped. Raises TransportError before anything is sent if a silo is not on the roster.
        """


def check_roster(requests: Mapping[str, bytes], silos: tuple[str, ...]) -> None:
    """Raise TransportError if a request names a silo that the transport does not reach."""
    if unknown := sorted(set(requests) - set(silos)):
        raise TransportError(f"no such silo: {', '.join(unknown)}. On the roster: {', '.join(silos)}.")
