"""The aggregator's side: requests out, replies in, one reply in memory at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress

from protocol.errors import MessageError, TransportError
from protocol.identity import Identity
from protocol.transport.base import Failure, check_roster
from protocol.transport.nats.bridge import Bridge
from protocol.transport.nats.endpoint import Endpoint
from protocol.transport.nats.fetching import Fetch
from protocol.transport.nats.heartbeat import Notice
from protocol.transport.nats.outgoing import Outgoing, Post
from protocol.transport.nats.presence import LOST_AFTER_S, Liveness
from protocol.transport.nats.shelf import Shelf
from protocol.transport.nats.station import Station
from protocol.transport.nats.streams import Sizes
from protocol.transport.nats.subjects import check_name, up_stream
from protocol.transport.nats.waiting import BUSY, Asked, Waiting

_log = logging.getLogger(__name__)
_STALL_S = 120.0


class NatsTransport:
    """Reaches silos through one broker. `silos`: each silo's pinned Ed25519 public key, in the order of the roster.

    One at a time for a consortium: it clears what an earlier one left in the broker, whose requests nobody awaits any more.
    `patience_s`: a silo that falls silent in the middle of a request is given up after this, or at its deadline if that is
    sooner. Connects at once; raises TransportError if there is no broker within half a minute or the streams cannot be made.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        identity: Identity,
        silos: Mapping[str, bytes],
        *,
        consortium: str = "",
        sizes: Sizes | None = None,
        patience_s: float = 600.0,
        lost_after_s: float = LOST_AFTER_S,
    ) -> None:
        self._keys = {check_name(name): key for name, key in silos.items()}
        self._consortium, self._patience_s = consortium, patience_s
        self._outgoing = Outgoing(consortium, self.silos)
        self._late: dict[str, str] = {}
        self._shelf = Shelf(1)  # every reply of an exchange in turn
        endpoint.tls()  # what is wrong with its files is said now, not when the thread has started

        async def make() -> Station:
            station = Station(endpoint, identity, self._keys, consortium, lost_after_s)
            await station.start(sizes or Sizes())
            return station

        self._bridge = Bridge("nats-aggregator")
        try:
            self._station = self._bridge.call(make())
        except BaseException:
            self._bridge.close()
            raise
        self._news, self._presence = self._station.news, self._station.presence

    @property
    def silos(self) -> tuple[str, ...]:
        """The silos of the roster, in the order given."""
        return tuple(self._keys)

    @property
    def connected(self) -> bool:
        """Whether the broker is reached now."""
        return self._station.link.up

    def liveness(self) -> dict[str, Liveness]:
        """How each silo stands, from its signed heartbeats."""
        with self._news:
            return self._presence.liveness(time.monotonic())

    def close(self) -> None:
        """Close the connection and end its thread. What silos still send waits in the broker and is cleared by the next."""
        self._bridge.close()

    def exchange(self, requests: Mapping[str, bytes], deadline_s: float) -> Iterator[tuple[str, bytes | Failure]]:
        """As Transport says; replies come in the order in which they are known, not in that of the roster."""
        check_roster(requests, self.silos)
        self._bridge.call(self._station.listen())
        with self._news:
            absent = {silo: failure for silo in requests if (failure := self._absent(silo)) is not None}
            known = {silo: last.sequence for silo in requests if (last := self._presence.latest(silo)) is not None}
        yield from absent.items()
        posts = self._outgoing.address({silo: data for silo, data in requests.items() if silo not in absent}, known)
        waiting = Waiting({s: asked for post in posts for s, asked in post.asked.items()}, deadline_s, self._patience_s)
        late = {silo for silo in waiting.asked if self._late.pop(silo, None) is not None}
        sends = [self._send(post, waiting, late, deadline_s) for post in posts]
        try:
            while waiting.asked:
                yield self._next(waiting, requests, deadline_s)
        finally:
            self._shelf.clear()
            for one in sends:
                one.cancel()
            self._late |= {silo: asked.request for silo, asked in waiting.asked.items()}
            with suppress(TransportError):  # closed meanwhile: the next one clears
                self._bridge.spawn(self._station.withdraw(posts, dict(self._late)))

    def _next(self, waiting: Waiting, requests: Mapping[str, bytes], deadline_s: float) -> tuple[str, bytes | Failure]:
        """Wait until one silo's reply or failure is known."""
        while True:
            with self._news:
                now = time.monotonic()
                ready = waiting.ready(self._presence)
                if ready is None:
                    if (given_up := waiting.given_up(self._presence, now)) is not None:
                        silo, failure = given_up
                        self._late[silo] = waiting.done(silo).request
                        return silo, failure
                    refused = waiting.refused(self._presence)
                    if refused is None:
                        self._news.wait(waiting.next_look_s(now))
            if ready is not None:
                silo, notice = ready
                return silo, self._fetch(silo, notice, waiting.done(silo))
            if refused is not None:
                self._repeat(refused, requests[refused], waiting, deadline_s)

    def _fetch(self, silo: str, notice: Notice, asked: Asked) -> bytes | Failure:
        fetch = Fetch(self._station.link, silo, self._keys[silo], self._consortium, asked.reference, notice, self._shelf)
        try:
            transfer, data = self._bridge.call(fetch.run(_STALL_S))
        except (MessageError, TransportError) as error:
            _log.warning("the reply of %s was not used: %s", silo, error)
            return Failure("unreachable", f"its reply did not arrive as it was signed: {error}")
        finally:
            self._bridge.spawn(self._station.forget(up_stream(silo), before=fetch.newest + 1))
        if transfer.kind == "crash":
            name = data[:64].decode("ascii", "replace")
            return Failure("crashed", name if name.isidentifier() else "an error without a name")
        return data

    def _repeat(self, silo: str, request: bytes, waiting: Waiting, deadline_s: float) -> None:
        """Ask once more with a later sequence number: the silo has seen later ones than this aggregator remembers."""
        _log.warning("asking %s again: it has answered later requests than this aggregator knows of", silo)
        with self._news:
            last = self._presence.latest(silo)
            (post,) = self._outgoing.address({silo: request}, {silo: last.sequence} if last else {})
            post.asked[silo].repeated = True
            waiting.asked[silo] = post.asked[silo]
        self._send(post, waiting, set(), deadline_s)

    def _send(self, post: Post, waiting: Waiting, late: set[str], deadline_s: float) -> Future[None]:
        def done(failure: str | None) -> None:
            waiting.sent(post.asked, time.monotonic(), failure)

        clear_first = late & set(post.asked)
        return self._bridge.spawn(self._station.send(post, clear_first, deadline_s, done))

    def _absent(self, silo: str) -> Failure | None:
        now = time.monotonic()
        if self._presence.lost(silo, now):
            return Failure("unreachable", f"not heard for {self._presence.silent_s(silo, now):.0f} s")
        last = self._presence.latest(silo)
        busy = last is not None and last.working != "" and last.working == self._late.get(silo)
        return BUSY if busy else None
