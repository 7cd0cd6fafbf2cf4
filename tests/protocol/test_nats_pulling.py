"""A source has one pull at the broker, whatever comes late."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from protocol.transport.nats.link import Link
from protocol.transport.nats.pulling import Source


@dataclass
class Broker:
    """Notes what is asked for, and on which inbox."""

    asked: list[str] = field(default_factory=list)
    deliver: Any = None

    def new_inbox(self) -> str:
        return "_INBOX_a.x"

    async def subscribe(self, subject: str, cb: Any) -> None:
        assert subject == "_INBOX_a.x.*"
        self.deliver = cb

    async def publish(self, subject: str, body: bytes, reply: str) -> None:
        self.asked.append(reply)

    async def client(self) -> Broker:
        return self

    async def say(self, status: str, inbox: str) -> None:
        await self.deliver(SimpleNamespace(headers={"Status": status}, subject=inbox, data=b""))
        await asyncio.sleep(0.01)


async def play(broker: Broker, source: Source, free: asyncio.Event, got: list[Any]) -> asyncio.Task[None]:
    async def receive(_: str, message: Any) -> None:
        got.append(message)

    free.set()
    await source.subscribe(cast(Any, broker))
    task = asyncio.ensure_future(source.pull(cast(Link, broker), free, receive))
    await asyncio.sleep(0.01)
    return task


def test_a_pull_that_ended_is_made_again_once_however_often_its_end_is_said() -> None:
    async def run() -> None:
        broker, got = Broker(), list[Any]()
        task = await play(broker, Source("$JS.API", "S", "c"), asyncio.Event(), got)
        (first,) = broker.asked
        await broker.say("408", first)
        assert len(broker.asked) == 2
        for _ in range(3):
            await broker.say("408", first)
        assert len(broker.asked) == len(set(broker.asked)) == 2
        await broker.deliver(SimpleNamespace(headers=None, subject="fl.bc.t.0", data=b"chunk"))
        await asyncio.sleep(0.01)
        assert [message.data for message in got] == [b"chunk"]
        task.cancel()

    asyncio.run(run())
