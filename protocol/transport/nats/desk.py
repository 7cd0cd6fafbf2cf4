"""A silo's desk: what to do with each chunk that arrives. A state machine without I/O.

Chunks may come twice, late, in any order and from anybody. A request leaves the desk once: whole, genuine, addressed to this
silo, and later than every request that was answered before.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from protocol.errors import MessageError
from protocol.transport.nats.assembly import Assembly
from protocol.transport.nats.memory import Remembered
from protocol.transport.nats.shelf import Shelf
from protocol.transport.nats.subjects import AGGREGATOR
from protocol.transport.nats.transfer import Envelope, NotForMe, Transfer, open_chunk


@dataclass(frozen=True, slots=True)
class Verdict:
    """`done`: the deliveries that the broker need not repeat. `dropped`: why this one was not used, if it was not."""

    done: tuple[str, ...] = ()
    dropped: str | None = None
    harmless: bool = True


@dataclass(frozen=True, slots=True)
class Task:
    """A request to be answered."""

    transfer: Transfer
    sequence: int
    data: bytes


class Desk:
    """Requests on their way in, waiting and in hand; at most one on its way from each source.

    A delivery is named by what it is acknowledged with. Those of a request stay open until it is answered, so the broker
    repeats it to a silo that died.
    """

    def __init__(self, me: str, aggregator_key: bytes, consortium: str, remembered: Remembered) -> None:
        self._me, self._keys, self._consortium = me, {AGGREGATOR: aggregator_key}, consortium
        self._sequence = remembered.sequence
        self._assemblies: dict[str, Assembly] = {}
        self._shelf = Shelf(1)  # the next request is as long as this one, most of the time
        self._waiting: deque[Task] = deque()
        self._open: dict[str, dict[int, str]] = {}  # transfer -> chunk -> its newest delivery
        self._hand: str = ""

    @property
    def busy(self) -> bool:
        """Whether a request waits or is in hand; nothing more need be fetched until then."""
        return bool(self._waiting or self._hand)

    @property
    def working(self) -> str:
        """The request in hand, or empty."""
        return self._hand

    @property
    def deliveries(self) -> tuple[str, ...]:
        """Everything that is open."""
        return tuple(delivery for chunks in self._open.values() for delivery in chunks.values())

    def receive(self, source: str, data: bytes, delivery: str) -> Verdict:
        """Take one chunk in."""
        try:
            envelope, chunk = open_chunk(data, self._keys, self._me, self._consortium)
            return self._receive(source, envelope, chunk, delivery)
        except NotForMe as error:
            return Verdict((delivery,), str(error))
        except MessageError as error:
            return Verdict((delivery,), str(error), harmless=False)

    def take(self) -> Task | None:
        """The next request, now in hand; None if none is whole or one is in hand already."""
        if self._hand or not self._waiting:
            return None
        task = self._waiting.popleft()
        self._hand = task.transfer.id
        return task

    def answered(self, task: Task) -> tuple[str, ...]:
        """The request in hand is answered: the deliveries that are done, also of waiting requests that are older."""
        self._hand, self._sequence = "", max(self._sequence, task.sequence)
        done = self._close(task.transfer.id)
        for other in [one for one in self._waiting if one.sequence <= self._sequence]:
            self._waiting.remove(other)
            done += self._close(other.transfer.id)
        return done

    def _receive(self, source: str, envelope: Envelope, chunk: memoryview, delivery: str) -> Verdict:
        transfer = envelope.transfer
        if transfer.kind != "request":
            raise MessageError("it is not a request")
        sequence = transfer.receivers[self._me]
        assembly = self._assemblies.get(source)
        assembling = assembly is not None and assembly.transfer.id == transfer.id
        if transfer.id in self._open and not assembling:
            self._open[transfer.id][envelope.index] = delivery  # delivered again while it waits or is in hand
            return Verdict()
        if sequence <= self._sequence:
            return Verdict((delivery,), "it is not later than the last request answered", harmless=False)
        done: tuple[str, ...] = ()
        if assembly is None or not assembling:
            if assembly is not None and assembly.transfer.receivers[self._me] >= sequence:
                return Verdict((delivery,), "a later request is arriving")
            if assembly is not None:
                done = self._close(assembly.transfer.id)
            assembly = self._assemblies[source] = Assembly(transfer, self._shelf)
        assembly.add(envelope, chunk)
        self._open.setdefault(transfer.id, {})[envelope.index] = delivery
        if not assembly.complete:
            return Verdict(done)
        del self._assemblies[source]
        try:
            self._waiting.append(Task(transfer, sequence, assembly.result()))
        except MessageError as error:
            return Verdict(done + self._close(transfer.id), str(error), harmless=False)
        return Verdict(done)

    def _close(self, transfer: str) -> tuple[str, ...]:
        return tuple(self._open.pop(transfer, {}).values())
