"""The streams of a consortium: what the broker keeps, for how long, and how much of it. Made by the aggregator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from protocol.errors import TransportError
from protocol.transport.nats.link import Link
from protocol.transport.nats.subjects import API, BROADCAST, INBOX, down_stream, purge, up_stream
from protocol.transport.nats.transfer import CHUNK_BYTES, MAX_BYTES

HOLD_S = 2.5
"""How often a silo says that it still holds the chunks of a request that it has not answered."""

_NS = 1_000_000_000
_OWN = (down_stream(""), up_stream(""))
_EXISTS = 10058  # "stream name already in use with a different configuration"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes that the broker reserves on disk for each stream at once, and copies in a cluster.

    Each holds the chunks that wait there: `broadcast` and `down` at least two requests, `up` two replies of one silo.
    `redeliver_s`: a silo that died gets its request again after this; silos renew their hold every `HOLD_S`.
    """

    broadcast: int = 2 << 30
    down: int = 1 << 29
    up: int = 1 << 30
    replicas: int = 1
    redeliver_s: float = 10.0


_USED = 0.8
"""Of the broker's disk: while a stream is changed the broker counts it twice."""
_LEAST = 16 << 20


def sizes_for(max_file: int, silos: int) -> Sizes:
    """Sizes of streams for so many silos that fit into a broker's `max_file` bytes; never more than the usual ones.

    Raises TransportError if they would be too small for any model.
    """
    usual = Sizes()
    factor = min(1.0, _USED * max_file / (2 * usual.broadcast + silos * (usual.down + usual.up)))
    found = Sizes(int(factor * usual.broadcast), int(factor * usual.down), int(factor * usual.up))
    if found.down < _LEAST:
        raise TransportError(
            f"the broker's {max_file / 1e9:.1f} GB are too little for {silos} silos; make it with more --storage-gb, "
            "or raise max_file in settings.json and `fedward consortium reload`."
        )
    return found


async def ensure(link: Link, silos: Iterable[str], sizes: Sizes) -> None:
    """Make what is missing and bring the rest up to date. Raises TransportError."""
    await _stream(link, BROADCAST, ["fl.bc.>"], "interest", sizes.broadcast, sizes.replicas)
    for silo in silos:
        await _consumer(link, BROADCAST, silo, sizes)
        await _stream(link, down_stream(silo), [f"fl.down.{silo}.>"], "workqueue", sizes.down, sizes.replicas)
        await _consumer(link, down_stream(silo), INBOX, sizes)
        await _stream(link, up_stream(silo), [f"fl.up.{silo}.>"], "limits", sizes.up, sizes.replicas)


async def forget_strangers(link: Link, silos: Iterable[str]) -> tuple[str, ...]:
    """Delete the streams and consumers of silos that are no longer among `silos`; returns what was deleted.

    What they hold is for nobody, and the disk that is reserved for them is needed for others. Whoever is taken in again under
    the same name gets new ones. Raises one of RETRY.
    """
    known = set(silos)
    theirs = {stream for silo in known for stream in (down_stream(silo), up_stream(silo))}
    streams = [one for one in await _names(link, "STREAM.NAMES", "streams") if one.startswith(_OWN) and one not in theirs]
    for stream in streams:
        await link.api(f"{API}.STREAM.DELETE.{stream}", {})
    consumers = [one for one in await _names(link, f"CONSUMER.NAMES.{BROADCAST}", "consumers") if one not in known]
    for consumer in consumers:
        await link.api(f"{API}.CONSUMER.DELETE.{BROADCAST}.{consumer}", {})
    return (*streams, *(f"{BROADCAST}/{consumer}" for consumer in consumers))


async def _names(link: Link, call: str, what: str) -> list[str]:
    """All names; the broker gives them in pages. None where there is nothing to list."""
    found: list[str] = []
    while True:
        answer = await link.api(f"{API}.{call}", {"offset": len(found)})
        page = answer.get(what)
        if not isinstance(page, list) or not page:
            return found
        found += [str(name) for name in page]
        if len(found) >= int(answer.get("total", 0)):
            return found


async def clear(link: Link, stream: str, subjects: str | None = None, before: int | None = None) -> None:
    """Delete what a stream holds, or what of it lies at `subjects` or came `before` a sequence. Raises one of RETRY."""
    only = {"filter": subjects, "seq": before}
    await link.api(purge(stream), {key: value for key, value in only.items() if value is not None})


async def _stream(link: Link, name: str, subjects: list[str], retention: str, max_bytes: int, replicas: int) -> None:
    config = {
        "name": name,
        "subjects": subjects,
        "retention": retention,
        "storage": "file",
        "discard": "new",  # a full stream refuses, it forgets nothing
        "max_bytes": max_bytes,
        "max_msg_size": 8 << 20,
        "max_age": 24 * 3600 * _NS,
        "duplicate_window": 2 * 3600 * _NS,
        "num_replicas": replicas,
        "allow_direct": retention == "limits",  # replies are read by subject; a silo's account does not import that call
    }
    answer = await link.api(f"{API}.STREAM.CREATE.{name}", config)
    if answer.get("error", {}).get("err_code") == _EXISTS:
        answer = await link.api(f"{API}.STREAM.UPDATE.{name}", config)
    _check(answer, name)


async def _consumer(link: Link, stream: str, name: str, sizes: Sizes) -> None:
    config = {
        "durable_name": name,
        "ack_policy": "explicit",
        "ack_wait": int(sizes.redeliver_s * _NS),
        "max_deliver": -1,
        # A request is acknowledged when it is answered, so all its chunks are open until then. What is on its way is
        # bounded by what a silo pulls at a time.
        "max_ack_pending": 2 * MAX_BYTES // CHUNK_BYTES,
        "max_waiting": 16,
    }
    body = {"stream_name": stream, "config": config}
    _check(await link.api(f"{API}.CONSUMER.DURABLE.CREATE.{stream}.{name}", body), f"{stream}/{name}")


def _check(answer: dict[str, Any], what: str) -> None:
    if error := answer.get("error"):
        hint = " Give the broker more max_file, or the streams less." if error.get("err_code") == 10047 else ""
        raise TransportError(f"the broker did not make {what}: {error.get('description')} ({error.get('err_code')}).{hint}")
