"""What the broker keeps for a silo goes when the silo goes, and with it the disk that was reserved."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import nats

from protocol.transport.nats import NatsTransport, Sizes
from tests.protocol.nats_federation import Federation
from tests.protocol.nats_server import Server, new_identity, server

__all__ = ["server"]  # a fixture

LARGE = Sizes(broadcast=1 << 30, down=4 << 30, up=8 << 30)
"""Of this, three silos fit into the broker's 40 GB; a fourth does not."""


def kept(server: Server) -> tuple[set[str], set[str]]:
    """(streams, consumers of broadcasts) at the broker."""

    async def ask() -> tuple[set[str], set[str]]:
        client = await nats.connect(server.url)
        js = client.jetstream()
        streams = {info.config.name or "" for info in await js.streams_info()}
        consumers = {info.name for info in await js.consumers_info("BCAST")}
        await client.close()
        return streams, consumers

    return asyncio.run(ask())


def aggregator(server: Server, folder: Path, *silos: str, sizes: Sizes = LARGE) -> NatsTransport:
    keys = {name: new_identity(folder, name).public_key for name in silos}
    endpoint = server.endpoint("aggregator")
    return NatsTransport(endpoint, new_identity(folder, "aggregator"), keys, consortium="test", sizes=sizes)


def test_a_silo_that_left_the_roster_leaves_nothing_at_the_broker_and_its_room_is_free(server: Server, tmp_path: Path) -> None:
    aggregator(server, tmp_path, "east", "north", "west").close()
    with closing(aggregator(server, tmp_path, "east", "north", "south")):  # does not fit beside what west had
        streams, consumers = kept(server)
    assert streams == {"BCAST", *(f"{way}_{name}" for way in ("DOWN", "UP") for name in ("east", "north", "south"))}
    assert consumers == {"east", "north", "south"}


def test_a_silo_that_is_taken_in_again_is_asked_as_before(server: Server, tmp_path: Path) -> None:
    federation = Federation(server, tmp_path, dict.fromkeys(("north", "west"), lambda request: b"heard " + request))
    try:
        federation.transport.close()
        federation.new_transport(("north",)).close()
        federation.transport = federation.new_transport(("north", "west"))
        answers = dict(federation.transport.exchange(dict.fromkeys(("north", "west"), b"again"), 60.0))
        assert answers == dict.fromkeys(("north", "west"), b"heard again")
    finally:
        federation.close()


def test_streams_of_somebody_else_at_the_same_broker_stay(server: Server, tmp_path: Path) -> None:
    async def make() -> None:
        client = await nats.connect(server.url)
        await client.jetstream().add_stream(name="LOGS", subjects=["logs.>"])
        await client.close()

    asyncio.run(make())
    aggregator(server, tmp_path, "north").close()
    assert "LOGS" in kept(server)[0]
