"""Over TLS, with the broker configuration that `fedward consortium` writes: one account a silo, nothing more than it needs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from aggregator.consortium.coordinator import renew
from aggregator.consortium.office import Office
from protocol.consortium.folder import PartyFolder
from protocol.consortium.joining import join
from protocol.errors import TransportError
from protocol.transport.nats import Endpoint, NatsInbox, NatsTransport, Sizes
from protocol.transport.nats.subjects import SILO_API
from tests.aggregator.consortium.brokers import Broker, free_port, hospital, install_kit, make_office, settings
from tests.protocol.relay import Relay

MIB = 1 << 20
SIZES = Sizes(broadcast=48 * MIB, down=24 * MIB, up=24 * MIB)


class House:
    """A consortium of two hospitals with its broker."""

    def __init__(self, folder: Path) -> None:
        self.office: Office = make_office(folder / "office")
        self.silos: dict[str, PartyFolder] = {name: hospital(self.office, folder, name) for name in ("a", "b")}
        self.websocket = free_port()
        port = int(self.silos["a"].url.read_text().rsplit(":", 1)[1])
        self.port = port
        self.office.save_settings(settings(self.office.broker, port, websocket=f"127.0.0.1:{self.websocket}"))
        self.office.write_all(self.office.roster())

    def endpoint(self, name: str) -> Endpoint:
        place = self.office.aggregator if name == "aggregator" else self.silos[name]
        one = Endpoint(place.url.read_text().strip(), name, place.ca, place.certificate, place.key)
        return one if name == "aggregator" else replace(one, api=SILO_API)

    def transport(self) -> NatsTransport:
        keys = {name: place.open_identity().public_key for name, place in self.silos.items()}
        return NatsTransport(
            self.endpoint("aggregator"), self.office.aggregator.open_identity(), keys, consortium="thorax", sizes=SIZES
        )

    @contextmanager
    def serving(self, name: str, endpoint: Endpoint | None = None) -> Iterator[None]:
        inbox = NatsInbox(
            endpoint or self.endpoint(name),
            self.silos[name].open_identity(),
            name,
            self.office.aggregator.open_identity().public_key,
            consortium="thorax",
        )
        thread = threading.Thread(target=inbox.serve, args=(lambda request: name.encode() + b":" + request,))
        thread.start()
        try:
            yield
        finally:
            inbox.stop()
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    one = House(tmp_path_factory.mktemp("house"))
    with Broker(one.office):
        yield one


def test_large_and_small_requests_travel_over_tls_between_accounts(house: House, caplog: pytest.LogCaptureFixture) -> None:
    large = bytes(range(256)) * (9 * MIB // 256)
    with closing(house.transport()) as transport, house.serving("a"), house.serving("b"):
        for request in (b"small", large):
            replies = dict(transport.exchange({"a": request, "b": request}, 30.0))
            assert replies == {"a": b"a:" + request, "b": b"b:" + request}
        assert dict(transport.exchange({"a": b"1", "b": b"2"}, 30.0)) == {"a": b"a:1", "b": b"b:2"}
        assert {one.state for one in transport.liveness().values()} == {"alive"}
    assert "forbade" not in caplog.text


def test_through_a_proxy_that_opens_tunnels(house: House) -> None:
    with closing(Relay(house.port, proxy=True)) as proxy:
        proxied = replace(house.endpoint("a"), proxy=f"http://127.0.0.1:{proxy.port}")
        with closing(house.transport()) as transport, house.serving("a", proxied):
            assert dict(transport.exchange({"a": bytes(5 * MIB)}, 30.0)) == {"a": b"a:" + bytes(5 * MIB)}
        assert proxy.tunnels == [f"127.0.0.1:{house.port}"]


def test_over_a_web_socket_directly_and_through_a_proxy(house: House) -> None:
    url = f"wss://127.0.0.1:{house.websocket}"
    web = replace(house.endpoint("a"), url=url)
    with closing(house.transport()) as transport, closing(Relay(house.websocket, proxy=True)) as proxy:
        for endpoint in (web, replace(web, proxy=f"http://127.0.0.1:{proxy.port}")):
            with house.serving("a", endpoint):
                assert dict(transport.exchange({"a": bytes(5 * MIB)}, 30.0)) == {"a": b"a:" + bytes(5 * MIB)}
        assert proxy.tunnels == [f"127.0.0.1:{house.websocket}"]


def test_a_renewed_certificate_is_used_without_a_restart_of_the_silo(tmp_path: Path) -> None:
    house = House(tmp_path)
    broker = Broker(house.office)
    with broker, closing(house.transport()) as transport, house.serving("a"):
        assert dict(transport.exchange({"a": b"1"}, 30.0)) == {"a": b"a:1"}
        renew(house.office, join(house.silos["a"], "a", renew=True), cut=True)
        install_kit(house.office, house.silos["a"], "a")
        broker.process.terminate()
        broker.process.wait(30)
        with Broker(house.office):  # it no longer knows the old certificate
            assert dict(transport.exchange({"a": b"2"}, 30.0)) == {"a": b"a:2"}


def test_without_tls_only_this_machines_broker_may_be_used(house: House) -> None:
    with pytest.raises(TransportError, match="without TLS only a broker on this machine"):
        NatsInbox(Endpoint("nats://broker.example.org:4222", "a"), house.silos["a"].open_identity(), "a", bytes(32))
    half = replace(house.endpoint("a"), key=None)
    with pytest.raises(TransportError, match="together; one of them is missing"):
        NatsInbox(half, house.silos["a"].open_identity(), "a", bytes(32))
    swapped = replace(house.endpoint("a"), key=house.silos["b"].key)
    with pytest.raises(TransportError, match="Unpack the kit again"):
        NatsInbox(swapped, house.silos["a"].open_identity(), "a", bytes(32))
