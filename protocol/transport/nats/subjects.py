"""Names of streams, consumers and subjects: the one place that spells them; broker permissions are written from the same names.

fl.bc.<transfer>.<chunk>          stream BCAST     to many silos; one durable consumer a silo
fl.down.<silo>.<transfer>.<chunk> stream DOWN_s    to one silo; consumer `in`
fl.up.<silo>.<transfer>.<chunk>   stream UP_s      from a silo; read by subject, no consumer
fl.hb.<silo>                      not stored       heartbeats
"""

from __future__ import annotations

import re

from protocol.errors import TransportError

AGGREGATOR = "aggregator"
BROADCAST = "BCAST"
INBOX = "in"
API = "$JS.API"
SILO_API = "fljs"
"""What a silo's own account calls the few API subjects that it imports; plain servers without accounts have API only."""

HEARTBEATS = "fl.hb.*"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def check_name(name: str) -> str:
    """`name` if it may stand in a subject and a stream's name. Raises TransportError."""
    if not _NAME.fullmatch(name) or name == AGGREGATOR:
        raise TransportError(f"{name!r} cannot name a silo: use 1 to 63 of a-z, 0-9 and dash, not {AGGREGATOR!r}.")
    return name


def down_stream(silo: str) -> str:
    """The stream of one silo's own requests."""
    return f"DOWN_{silo}"


def up_stream(silo: str) -> str:
    """The stream of one silo's replies."""
    return f"UP_{silo}"


def broadcast(transfer: str) -> str:
    """Where the chunks of a transfer to many silos go; a chunk adds `.<index>`."""
    return f"fl.bc.{transfer}"


def down(silo: str, transfer: str) -> str:
    """Where the chunks of a transfer to one silo go."""
    return f"fl.down.{silo}.{transfer}"


def up(silo: str, transfer: str) -> str:
    """Where the chunks of a silo's reply go."""
    return f"fl.up.{silo}.{transfer}"


def heartbeat(silo: str) -> str:
    """Where a silo says that it lives."""
    return f"fl.hb.{silo}"


def next_messages(api: str, stream: str, consumer: str) -> str:
    """Ask a consumer for its next messages; `api` is API or SILO_API."""
    return f"{api}.CONSUMER.MSG.NEXT.{stream}.{consumer}"


def consumer_info(api: str, stream: str, consumer: str) -> str:
    """Ask how a consumer stands; the answer bears the broker's time. `api` is API or SILO_API."""
    return f"{api}.CONSUMER.INFO.{stream}.{consumer}"


def direct_get(stream: str) -> str:
    """Ask for one stored message."""
    return f"{API}.DIRECT.GET.{stream}"


def purge(stream: str) -> str:
    """Delete messages of a stream."""
    return f"{API}.STREAM.PURGE.{stream}"
