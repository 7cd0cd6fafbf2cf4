"""A consortium in a folder and a real broker for it, on loopback; clients that stand for its parties."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from aggregator.consortium.broker_config import BrokerSettings
from aggregator.consortium.coordinator import admit, found
from aggregator.consortium.office import Office
from protocol.consortium.folder import PartyFolder
from protocol.consortium.joining import install, join
from protocol.consortium.records import Kit, decode
from protocol.transport.nats.client import BrokerClient

SERVER = Path(sys.executable).with_name("nats-server")
MIB = 1 << 20


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def settings(folder: Path, port: int, **changes: Any) -> BrokerSettings:
    given = {"hosts": ("127.0.0.1",), "listen": f"127.0.0.1:{port}", "monitor_port": free_port(), "max_file": 256 * MIB}
    return BrokerSettings(folder=str(folder), **(given | changes))


def make_office(folder: Path, name: str = "thorax", **changes: Any) -> Office:
    office, port = Office(folder), free_port()
    found(office, name, f"tls://127.0.0.1:{port}", settings(office.broker, port, **changes))
    return office


def hospital(office: Office, folder: Path, name: str) -> PartyFolder:
    """A hospital that joined and installed its kit."""
    place = PartyFolder(folder / name)
    admit(office, join(place, name))
    install_kit(office, place, name)
    return place


def install_kit(office: Office, place: PartyFolder, name: str) -> None:
    kit = decode(office.kit_path(name).read_bytes(), Kit)
    install(place, name, kit, office.roster().coordinator)


class Broker:
    """`nats-server` with the office's configuration; ended by its own process id."""

    def __init__(self, office: Office) -> None:
        self.office, self.log = office, office.broker / "log"

    def __enter__(self) -> Broker:
        self._out = self.log.open("ab")
        self.process = subprocess.Popen([SERVER, "-c", self.office.config], stdout=self._out, stderr=subprocess.STDOUT)
        url = f"http://127.0.0.1:{self.office.settings().monitor_port}/healthz"
        for _ in range(400):
            if self.process.poll() is not None:
                break
            with suppress(OSError), urllib.request.urlopen(url, timeout=1) as answer:
                if answer.status == 200:
                    return self
            time.sleep(0.05)
        self.__exit__()
        raise RuntimeError(self.log.read_text()[-2000:])

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)
        self._out.close()


class Ear:
    """What the broker told a client outside of any call."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def listen(self, error: Exception) -> None:
        self.heard.append(str(error))

    @property
    def refusals(self) -> int:
        return sum("permissions violation" in text.lower() for text in self.heard)


def tls(ca: Path, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    if certificate and key:
        context.load_cert_chain(str(certificate), str(key))
    return context


async def connect(place: PartyFolder, name: str, ear: Ear | None = None, **options: Any) -> Client:
    """A connection as the party in `place`; `options` replace those of a well-behaved client."""
    ear = ear or Ear()
    given = {
        "servers": place.url.read_text().strip(),
        "inbox_prefix": f"_INBOX_{name}",
        "tls_handshake_first": True,
        "allow_reconnect": False,
        "connect_timeout": 5,
        "error_cb": ear.listen,
    }
    if "tls" not in options:
        options["tls"] = context = tls(place.ca, place.certificate, place.key)
        if str(options.get("servers", "")).startswith("wss:"):  # ours: nats-py's own waits for ever where the broker wants TLS
            client = BrokerClient(None, lambda: context)
            await client.connect(**(given | options))
            return client
    return await nats.connect(**(given | options))


async def provision(js: JetStreamContext, silos: list[str]) -> None:
    """Streams and consumers of the knowledge page, small."""
    base = {"storage": StorageType.FILE, "discard": DiscardPolicy.NEW, "max_bytes": 16 * MIB, "max_msg_size": 8 * MIB}
    consumer = {"ack_policy": AckPolicy.EXPLICIT, "ack_wait": 30, "max_ack_pending": 4, "max_waiting": 16}
    names = [info.config.name for info in await js.streams_info()]

    async def stream(name: str, subject: str, retention: RetentionPolicy) -> None:
        if name not in names:
            await js.add_stream(StreamConfig(name=name, subjects=[subject], retention=retention, **base))

    await stream("BCAST", "fl.bc.>", RetentionPolicy.INTEREST)
    for silo in silos:
        await js.add_consumer("BCAST", ConsumerConfig(durable_name=silo, **consumer))
        await stream(f"DOWN_{silo}", f"fl.down.{silo}.>", RetentionPolicy.WORK_QUEUE)
        await js.add_consumer(f"DOWN_{silo}", ConsumerConfig(durable_name="in", **consumer))
        await stream(f"UP_{silo}", f"fl.up.{silo}.>", RetentionPolicy.LIMITS)


def run(scenario: Callable[[], Coroutine[Any, Any, None]], seconds: float = 60) -> None:
    """Run one scenario to its end, within a time."""
    asyncio.run(asyncio.wait_for(scenario(), seconds))
