"""Requests as they leave: the same bytes for many silos travel once, everything else goes to its silo alone. No I/O."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from protocol.transport.nats.subjects import AGGREGATOR, broadcast, down
from protocol.transport.nats.transfer import MAX_SEQUENCE, Parcel, pack
from protocol.transport.nats.waiting import Asked


@dataclass(frozen=True, slots=True)
class Post:
    """One parcel, where it goes, and what it asks of whom."""

    parcel: Parcel
    subject: str
    asked: dict[str, Asked]


class Outgoing:
    """Numbers requests for each silo: always higher, also after a restart, as long as the clock does not go back.

    If it did, `known` (what the silos say they have answered) makes up for it.
    """

    def __init__(self, consortium: str, silos: tuple[str, ...]) -> None:
        self._consortium, self._silos = consortium, silos
        self._last = dict.fromkeys(silos, 0)

    def address(self, requests: Mapping[str, bytes], known: Mapping[str, int]) -> list[Post]:
        """The posts that carry `requests`. Raises MessageError if one is too long."""
        posts = []
        for data, silos in _alike(requests):
            if 2 * len(silos) >= len(self._silos) and len(silos) > 1:
                posts.append(self._post(data, silos, known))
            else:  # a broadcast reaches everybody: for a few, copies cost less
                posts += [self._post(data, [silo], known) for silo in silos]
        return posts

    def _post(self, data: bytes, silos: list[str], known: Mapping[str, int]) -> Post:
        numbers = {silo: self._number(silo, known.get(silo, 0)) for silo in silos}
        parcel = pack(data, consortium=self._consortium, kind="request", sender=AGGREGATOR, receivers=numbers)
        name = parcel.transfer.id
        subject = broadcast(name) if len(silos) > 1 else down(silos[0], name)
        reference = parcel.transfer.reference
        return Post(parcel, subject, {silo: Asked(name, reference, number) for silo, number in numbers.items()})

    def _number(self, silo: str, known: int) -> int:
        following = max(self._last[silo], known, time.time_ns() // 1_000_000) + 1
        self._last[silo] = min(following, MAX_SEQUENCE)  # a silo that claims the end of all numbers hurts itself only
        return self._last[silo]


def _alike(requests: Mapping[str, bytes]) -> list[tuple[bytes, list[str]]]:
    groups: list[tuple[bytes, list[str]]] = []
    for silo, data in requests.items():
        for known, silos in groups:
            if known is data or (len(known) == len(data) and known == data):
                silos.append(silo)
                break
        else:
            groups.append((data, [silo]))
    return groups
