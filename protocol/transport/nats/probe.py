"""One connection, made to see whether it can be made: what a hospital tries before its node serves."""

from __future__ import annotations

import asyncio
import json
from typing import Literal

import nats.errors
from nats.aio.client import Client

from protocol.errors import TransportError
from protocol.transport.nats.bridge import Bridge
from protocol.transport.nats.endpoint import Endpoint
from protocol.transport.nats.link import RETRY, Link
from protocol.transport.nats.subjects import INBOX, down_stream, next_messages

Inbox = Literal["there", "not made yet"]


def probe(endpoint: Endpoint, timeout_s: float) -> Inbox:
    """Connect, be let in, and ask for the inbox, which the aggregator makes. Raises TransportError with what failed.

    Not while the silo serves: a request that waits would be handed to the probe, and to the silo again only seconds later.
    """
    bridge = Bridge("nats-probe")
    try:
        return bridge.call(_probe(endpoint, timeout_s))
    finally:
        bridge.close()


async def _probe(endpoint: Endpoint, timeout_s: float) -> Inbox:
    async def opened(_: Client) -> None:
        """Nothing to subscribe to."""

    link = Link(endpoint, opened, lambda _: None)
    keeping = asyncio.ensure_future(link.keep())
    try:
        await asyncio.wait_for(link.client(), timeout_s)
        subject = next_messages(endpoint.api, down_stream(endpoint.user), INBOX)
        await link.request(subject, json.dumps({"batch": 1, "no_wait": True}).encode(), timeout_s)
    except nats.errors.NoRespondersError:
        return "not made yet"
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
    return "there"
