"""Everything silo `a` must not be able to do at the broker, tried for real: directly, and by naming a reply subject.

All of it over both ways in: native TLS, and the web socket that is there for networks which let nothing else out.

The broker's own answer goes to the reply subject, in the broker's name: inside one account a silo deleted streams that way.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats.errors
import nats.js.errors
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext

from aggregator.consortium.office import Office
from protocol.consortium.folder import PartyFolder
from tests.aggregator.consortium.brokers import Broker, Ear, connect, free_port, hospital, make_office, provision, run

API = "$JS.API"
REQUESTS = {
    "read another's inbox": (f"{API}.CONSUMER.MSG.NEXT.DOWN_b.in", b"{}"),
    "read another's inbox by the imported name": ("fljs.CONSUMER.MSG.NEXT.DOWN_b.in", b"{}"),
    "read another's broadcasts": ("fljs.CONSUMER.MSG.NEXT.BCAST.b", b"{}"),
    "read another's broadcasts by the API's name": (f"{API}.CONSUMER.MSG.NEXT.BCAST.b", b"{}"),
    "read the aggregator's consumer": (f"{API}.CONSUMER.MSG.NEXT.UP_a.agg", b"{}"),
    "see another's backlog": ("fljs.CONSUMER.INFO.DOWN_b.in", b""),
    "make a consumer of another's inbox": (f"{API}.CONSUMER.CREATE.DOWN_b", b"{}"),
    "make a consumer of its own inbox": (f"{API}.CONSUMER.CREATE.DOWN_a.x", b"{}"),
    "make a durable consumer": (f"{API}.CONSUMER.DURABLE.CREATE.BCAST.x", b"{}"),
    "delete its own consumer": (f"{API}.CONSUMER.DELETE.DOWN_a.in", b""),
    "make a stream": (f"{API}.STREAM.CREATE.X", b'{"name":"X","subjects":["x"]}'),
    "change a stream": (f"{API}.STREAM.UPDATE.DOWN_b", b'{"name":"DOWN_b","subjects":["fl.down.b.>"],"max_msgs":1}'),
    "purge another's inbox": (f"{API}.STREAM.PURGE.DOWN_b", b""),
    "purge through the imported prefix": ("fljs.STREAM.PURGE.DOWN_b", b""),
    "delete its own inbox": (f"{API}.STREAM.DELETE.DOWN_a", b""),
    "delete a message": (f"{API}.STREAM.MSG.DELETE.DOWN_b", b'{"seq":1}'),
    "read a stored message": (f"{API}.STREAM.MSG.GET.DOWN_b", b'{"seq":1}'),
    "read a stored message directly": (f"{API}.DIRECT.GET.DOWN_b", b'{"seq":1}'),
    "list streams": (f"{API}.STREAM.NAMES", b""),
    "ask for the account": (f"{API}.INFO", b""),
    "ask the server": ("$SYS.REQ.SERVER.PING", b""),
    "ask who it is": ("$SYS.REQ.USER.INFO", b""),
    "reload the server": ("$SYS.REQ.SERVER.PING.RELOAD", b""),
}
PUBLISH = {
    "into another's outbox": "fl.up.b.m",
    "into another's inbox": "fl.down.b.cmd",
    "into its own inbox": "fl.down.a.cmd",
    "a broadcast": "fl.bc.x",
    "another's heartbeat": "fl.hb.b",
    "an acknowledgement of another's message": "$JS.ACK.DOWN_b.in.1.1.1.1.1",
    "an acknowledgement of another's broadcast": "$JS.ACK.BCAST.b.1.1.1.1.1",
    "into another's answers": "_INBOX_b.x",
    "into the aggregator's answers": "_INBOX_aggregator.x",
}
SUBSCRIBE = (
    ">",
    "*.>",
    "fl.>",
    "fl.hb.*",
    "fl.hb.a",
    "fl.up.a.>",
    "fl.up.b.>",
    "fl.down.a.>",
    "fl.down.b.>",
    "fl.bc.>",
    "_INBOX.>",
    "_INBOX_b.>",
    "_INBOX_aggregator.>",
    "$SYS.>",
    "$JS.EVENT.ADVISORY.>",
    "$JS.ACK.>",
)


@dataclass(frozen=True)
class House:
    """A consortium whose broker runs, and its silo `a`, who comes in at `door`."""

    office: Office
    a: PartyFolder
    door: dict[str, Any]


@pytest.fixture(scope="module", params=["tls", "wss"])
def house(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[House]:
    folder, web = tmp_path_factory.mktemp("house"), f"127.0.0.1:{free_port()}"
    office = make_office(folder / "office", websocket=web)
    a, _ = hospital(office, folder, "a"), hospital(office, folder, "b")
    door = {"servers": f"wss://{web}", "tls_handshake_first": False} if request.param == "wss" else {}
    with Broker(office):
        yield House(office, a, door)


async def opened(house: House) -> tuple[Client, JetStreamContext, Client, Ear]:
    aggregator = await connect(house.office.aggregator, "aggregator")
    js = aggregator.jetstream(timeout=5)
    await provision(js, ["a", "b"])
    ear = Ear()
    return aggregator, js, await connect(house.a, "a", ear, **house.door), ear


def test_the_door_is_the_one_that_is_meant(house: House) -> None:
    async def scenario() -> None:
        aggregator, _, silo, _ = await opened(house)
        with urllib.request.urlopen(f"http://127.0.0.1:{house.office.settings().monitor_port}/connz?auth=1") as answer:
            (entry,) = [one for one in json.loads(answer.read())["connections"] if one["account"] == "S_a"]
        assert (entry["type"], entry["tls_version"]) == ("websocket" if house.door else "nats", "1.3")
        await silo.close()
        await aggregator.close()

    run(scenario)


def test_what_a_silo_needs_works(house: House) -> None:
    async def scenario() -> None:
        aggregator, js, silo, ear = await opened(house)
        heard = await aggregator.subscribe("fl.hb.*")
        await js.publish("fl.down.a.cmd", b"for a")
        await js.publish("fl.bc.x", b"for all")
        mine = silo.jetstream(prefix="fljs", timeout=2)
        assert (await mine.publish("fl.up.a.m", b"x")).stream == "UP_a"
        for stream, consumer, data in (("DOWN_a", "in", b"for a"), ("BCAST", "a", b"for all")):
            inbox = await mine.pull_subscribe_bind(consumer=consumer, stream=stream)
            (message,) = await inbox.fetch(1, timeout=2)
            assert message.data == data
            await message.ack_sync()
            assert (await inbox.consumer_info()).num_ack_pending == 0
        await silo.publish("fl.hb.a", b"alive")
        assert (await heard.next_msg(timeout=2)).data == b"alive"
        assert ear.heard == []
        await silo.close()
        await aggregator.close()

    run(scenario)


def test_every_forbidden_action_is_refused_and_the_connection_kept(house: House) -> None:
    async def scenario() -> None:
        aggregator, js, silo, ear = await opened(house)
        await js.publish("fl.down.b.cmd", b"for b")
        await js.publish("fl.bc.y", b"for all")
        before = [await js.stream_info(name) for name in ("BCAST", "DOWN_a", "DOWN_b", "UP_a", "UP_b")]
        heard = await aggregator.subscribe("fl.hb.*")

        async def refused() -> bool:
            """Whether the broker said no since the last time."""
            await silo.flush()
            for _ in range(40):
                if ear.refusals:
                    ear.heard.clear()
                    return True
                await asyncio.sleep(0.02)
            return False

        allowed = []
        for what, (subject, body) in REQUESTS.items():
            answer = asyncio.ensure_future(silo.request(subject, body, timeout=0.15))
            no = await refused()
            try:
                allowed.append((what, (await answer).data))
            except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
                allowed.extend([] if no else [(what, b"not said")])
        for what, subject in PUBLISH.items():
            await silo.publish(subject, b"x")
            allowed.extend([] if await refused() else [(what, b"not said")])
        for subject in SUBSCRIBE:
            await silo.subscribe(subject)
            allowed.extend([] if await refused() else [(subject, b"not said")])
        assert allowed == []
        with pytest.raises(nats.errors.TimeoutError):
            await heard.next_msg(timeout=0.2)
        after = [await js.stream_info(name) for name in ("BCAST", "DOWN_a", "DOWN_b", "UP_a", "UP_b")]
        assert [info.state for info in after] == [info.state for info in before]
        assert [info.config for info in after] == [info.config for info in before]
        assert silo.is_connected
        await silo.close()
        await aggregator.close()

    run(scenario)


NEXT = "fljs.CONSUMER.MSG.NEXT.DOWN_a.in"
DEPUTIES = {
    "the store's receipt becomes another's upload": ("fl.up.a.z", b"x", "fl.up.b.injected", "UP_b"),
    "the store's receipt purges": ("fl.up.a.z", b"x", f"{API}.STREAM.PURGE.DOWN_b", "DOWN_b"),
    "the own inbox message purges": (NEXT, b'{"batch":1}', f"{API}.STREAM.PURGE.DOWN_b", "DOWN_b"),
    "the own inbox message becomes another's": (NEXT, b'{"batch":1}', "fl.down.b.fake", "DOWN_b"),
    "an answer without messages deletes": (NEXT, b'{"batch":1,"no_wait":true}', f"{API}.STREAM.DELETE.UP_b", "UP_b"),
    "an information becomes a broadcast": ("fljs.CONSUMER.INFO.DOWN_a.in", b"", "fl.bc.fake", "BCAST"),
    "a heartbeat carries a deletion": ("fl.hb.a", b"", f"{API}.STREAM.DELETE.DOWN_b", "DOWN_b"),
}


@pytest.mark.parametrize("attack", [*DEPUTIES, "an acknowledgement deletes"])
def test_a_reply_subject_reaches_nothing_of_another(house: House, attack: str) -> None:
    async def scenario() -> None:
        aggregator, js, silo, _ = await opened(house)
        await js.purge_stream("DOWN_a")
        for name in ("a", "b"):
            await js.publish(f"fl.down.{name}.cmd", b'{"keep":0}')
        if attack in DEPUTIES:
            subject, body, reply, stream = DEPUTIES[attack]
            if "without messages" in attack:
                await js.purge_stream("DOWN_a")
        else:
            inbox = await silo.jetstream(prefix="fljs", timeout=2).pull_subscribe_bind(consumer="in", stream="DOWN_a")
            (message,) = await inbox.fetch(1, timeout=2)
            subject, body, reply, stream = message.reply, b"+ACK", f"{API}.STREAM.DELETE.DOWN_b", "DOWN_b"
        before = (await js.stream_info(stream)).state
        await silo.publish(subject, body, reply=reply)
        await silo.flush()
        await asyncio.sleep(0.4)
        assert (await js.stream_info(stream)).state == before
        assert (await silo.jetstream(prefix="fljs", timeout=2).publish("fl.up.a.q", b"1")).stream == "UP_a"
        await silo.close()
        await aggregator.close()

    run(scenario)


def in_one_account(config: str) -> str:
    """The configuration with silo `a` moved into the aggregator's account, its permissions as narrow as before."""
    accounts = {line.split('"')[1]: line for line in config.splitlines() if line.startswith('  "')}
    house, silo = (json.loads(accounts[name].split(": ", 1)[1]) for name in ("FL", "S_a"))
    users = json.loads(json.dumps(silo["users"]).replace("fljs.", "$JS.API."))
    shared = json.dumps({"jetstream": house["jetstream"], "users": house["users"] + users})
    kept = [line for line in config.splitlines() if line not in (accounts["FL"], accounts["S_a"])]
    kept.insert(kept.index("accounts: {") + 1, f'  "FL": {shared}')
    return "\n".join(kept) + "\n"


def test_the_same_reply_subjects_do_harm_inside_one_account(tmp_path: Path) -> None:
    """The attacks above are real: with silo and aggregator in one account the broker deletes the stream itself."""
    office = make_office(tmp_path / "office")
    place = hospital(office, tmp_path, "a")
    office.config.write_text(in_one_account(office.config.read_text()))

    async def scenario() -> None:
        aggregator = await connect(office.aggregator, "aggregator")
        js = aggregator.jetstream(timeout=5)
        await provision(js, ["a", "b"])
        await js.publish("fl.down.a.cmd", b"1")
        thief = await connect(place, "a")
        inbox = await thief.jetstream(timeout=2).pull_subscribe_bind(consumer="in", stream="DOWN_a")
        (message,) = await inbox.fetch(1, timeout=2)
        await thief.publish(message.reply, b"+ACK", reply=f"{API}.STREAM.DELETE.DOWN_b")
        await thief.flush()
        await asyncio.sleep(0.4)
        with pytest.raises(nats.js.errors.NotFoundError):
            await js.stream_info("DOWN_b")
        await thief.close()
        await aggregator.close()

    with Broker(office):
        run(scenario)
