"""One connection, made to see whether it can be made: what a hospital tries before its node serves."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import nats.errors
from nats.aio.client import Client

from protocol.errors import TransportError
from protocol.transport.nats.bridge import Bridge
from protocol.transport.nats.endpoint import Endpoint
from protocol.transport.nats.link import RETRY, Link
from protocol.transport.nats.subjects import INBOX, consumer_info, down_stream, next_messages

Inbox = Literal["there", "not made yet"]


@dataclass(frozen=True, slots=True)
class Visit:
    """What was found: the inbox, and by how many seconds this machine's clock is ahead of the broker's; None if unknown.

    The broker says its time when it speaks of an inbox; half of the way there and back is the error.
    """

    inbox: Inbox
    ahead_s: float | None = None


def probe(endpoint: Endpoint, timeout_s: float) -> Visit:
    """Connect, be let in, and ask for the inbox, which the aggregator makes. Raises TransportError with what failed.

    Not while the silo serves: a request that waits would be handed to the probe, and to the silo again only seconds later.
    """
    bridge = Bridge("nats-probe")
    try:
        return bridge.call(_probe(endpoint, timeout_s))
    finally:
        bridge.close()


async def _probe(endpoint: Endpoint, timeout_s: float) -> Visit:
    async def opened(_: Client) -> None:
        """Nothing to subscribe to."""

    link = Link(endpoint, opened, lambda _: None)
    keeping = asyncio.ensure_future(link.keep())
    try:
        await asyncio.wait_for(link.client(), timeout_s)
        subject = next_messages(endpoint.api, down_stream(endpoint.user), INBOX)
        await link.request(subject, json.dumps({"batch": 1, "no_wait": True}).encode(), timeout_s)
        return Visit("there", await _ahead_s(link, endpoint, timeout_s))
    except nats.errors.NoRespondersError:
        return Visit("not made yet")
    except TimeoutError as error:
        raise TransportError(
            f"the broker did not let this hospital in within {timeout_s:g} s: it does not answer, does not know the "
            "certificate, or forbids the inbox. Ask the coordinator whether the newest roster is in force at the broker."
        ) from error
    except RETRY as error:
        raise TransportError(f"the connection to the broker was cut ({type(error).__name__}); try again.") from error
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _ahead_s(link: Link, endpoint: Endpoint, timeout_s: float) -> float | None:
    """None where the broker does not say its time."""
    before = time.time()
    answer = await link.api(consumer_info(endpoint.api, down_stream(endpoint.user), INBOX), {}, timeout_s)
    here = (before + time.time()) / 2
    try:
        return here - datetime.fromisoformat(str(answer.get("ts"))).timestamp()
    except ValueError:
        return None
