"""Reading one silo's reply out of its stream: by subject, a few chunks at a time, as often as it takes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping

from protocol.errors import MessageError, TransportError
from protocol.transport.nats.assembly import Assembly
from protocol.transport.nats.heartbeat import Notice
from protocol.transport.nats.link import RETRY, Link
from protocol.transport.nats.shelf import Shelf
from protocol.transport.nats.subjects import AGGREGATOR, direct_get, up, up_stream
from protocol.transport.nats.transfer import Envelope, Transfer, chunk_count, open_chunk

_log = logging.getLogger(__name__)
WINDOW = 4
_PAUSE_S = 0.2
_LOOKS = 25
"""How often a chunk that is not there is looked for: in a cluster another server may have it first."""


class Fetch:
    """One reply. Nothing is used that the silo did not sign, for this request, in this consortium."""

    def __init__(
        self, link: Link, silo: str, key: bytes, consortium: str, reference: str, notice: Notice, shelf: Shelf | None = None
    ) -> None:
        self._link, self._silo, self._keys, self._consortium = link, silo, {silo: key}, consortium
        self._reference, self._notice = reference, notice
        self._assembly: Assembly | None = None
        self._shelf = shelf or Shelf(1)
        self.newest = 0
        """The newest position in the stream that was read; what is not newer can be forgotten."""

    async def run(self, stall_s: float) -> tuple[Transfer, bytes]:
        """The reply's transfer and its bytes.

        Raises MessageError if the broker does not have it as the silo signed it, TransportError if no chunk came for
        `stall_s` seconds.
        """
        indices = iter(range(chunk_count(self._notice.size)))

        async def worker() -> None:
            for index in indices:
                try:
                    async with asyncio.timeout(stall_s):
                        await self._chunk(index)
                except TimeoutError as error:
                    raise TransportError(f"the broker gave no part of the reply for {stall_s:g} s") from error

        workers = [asyncio.ensure_future(worker()) for _ in range(WINDOW)]
        try:
            await asyncio.gather(*workers)
        finally:
            for one in workers:
                one.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        if self._assembly is None:
            raise MessageError("the reply has no chunks")
        return self._assembly.transfer, self._assembly.result()

    async def _chunk(self, index: int) -> None:
        """Take the first stored message of this name that is genuine: whoever stole a silo's place may store others there."""
        sequence, looks = 1, 0
        subject = f"{up(self._silo, self._notice.reply)}.{index}"
        query = {"next_by_subj": subject}
        while True:
            try:
                answer = await self._link.request(
                    direct_get(up_stream(self._silo)), json.dumps({**query, "seq": sequence}).encode(), 30.0
                )
            except RETRY as error:
                _log.debug("reading again: %s", type(error).__name__)
                await asyncio.sleep(_PAUSE_S)
                continue
            headers: Mapping[str, str] = answer.headers or {}
            if "Status" in headers:
                looks += 1
                if looks > _LOOKS:
                    raise MessageError("a part of the reply is not in the broker")
                await asyncio.sleep(_PAUSE_S)
                continue
            position = _position(headers)
            self.newest = max(self.newest, position)
            try:
                self._take(*open_chunk(answer.data, self._keys, AGGREGATOR, self._consortium), index)
            except MessageError as error:
                _log.warning("dropped a chunk of %s: %s", self._silo, error)
                sequence = max(sequence, position) + 1
            else:
                return

    def _take(self, envelope: Envelope, chunk: memoryview, index: int) -> None:
        transfer = envelope.transfer
        if (
            transfer.kind not in ("reply", "crash")
            or transfer.answers != self._reference
            or transfer.id != self._notice.reply
            or transfer.size != self._notice.size
            or envelope.index != index
        ):
            raise MessageError("it answers another request")
        if self._assembly is None:
            self._assembly = Assembly(transfer, self._shelf)
        self._assembly.add(envelope, chunk)


def _position(headers: Mapping[str, str]) -> int:
    try:
        return max(0, int(headers.get("Nats-Sequence", "")))
    except ValueError:
        return 0
