"""Silos come, go and renew their keys while another keeps sending: a reload loses nothing for anybody else."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import nats.errors
import pytest

from aggregator.consortium.coordinator import admit, dismiss, finish, renew, renew_aggregator, renew_broker
from aggregator.consortium.office import Office
from aggregator.consortium.reload import Reloaded, reload_broker
from protocol.consortium.folder import PartyFolder
from protocol.consortium.joining import join
from protocol.errors import ConsortiumError
from tests.aggregator.consortium.brokers import Broker, Ear, connect, hospital, install_kit, make_office, provision, run, tls

REFUSED = (nats.errors.Error, OSError)


async def told(office: Office) -> Reloaded:
    done = await asyncio.to_thread(reload_broker, office, office.roster())
    assert done is not None
    return done


async def cut(client: nats.NATS, within: float = 2.0) -> bool:
    until = time.monotonic() + within
    while client.is_connected and time.monotonic() < until:
        await asyncio.sleep(0.01)
    return not client.is_connected


class Upload:
    """A silo that never stops sending; counts what the broker confirmed."""

    def __init__(self, place: PartyFolder, name: str) -> None:
        self.place, self.name, self.confirmed, self.ear, self.stop = place, name, 0, Ear(), False

    async def __aenter__(self) -> Upload:
        self.client = await connect(self.place, self.name, self.ear)
        self.task = asyncio.create_task(self._send())
        return self

    async def _send(self) -> None:
        js = self.client.jetstream(prefix="fljs", timeout=5)
        while not self.stop:
            await js.publish(f"fl.up.{self.name}.t", bytes(10_000))
            self.confirmed += 1
            await asyncio.sleep(0.002)

    async def __aexit__(self, *_: object) -> None:
        self.stop = True
        (failed,) = await asyncio.gather(self.task, return_exceptions=True)
        kept = self.client.is_connected
        await self.client.close()
        assert (failed, kept, self.ear.heard) == (None, True, [])


def test_silos_come_and_go_while_another_sends(tmp_path: Path) -> None:
    office = make_office(tmp_path / "office")
    a, d = hospital(office, tmp_path, "a"), hospital(office, tmp_path, "d")

    async def scenario() -> None:
        aggregator = await connect(office.aggregator, "aggregator")
        js = aggregator.jetstream(timeout=5)
        await provision(js, ["a", "d"])
        async with Upload(a, "a") as upload:
            leaving = await connect(d, "d")
            await asyncio.sleep(0.2)
            before = upload.confirmed

            e = hospital(office, tmp_path, "e")
            with pytest.raises(REFUSED):
                await connect(e, "e")
            assert (await told(office)).accounts == 3
            await provision(js, ["e"])
            new = await connect(e, "e")
            assert (await new.jetstream(prefix="fljs", timeout=2).publish("fl.up.e.x", b"1")).stream == "UP_e"

            dismiss(office, "d")
            await told(office)
            assert await cut(leaving)
            with pytest.raises(REFUSED):
                await connect(d, "d")
            with pytest.raises(REFUSED):
                await connect(d, "a", tls=tls(d.ca, d.certificate, d.key))

            await asyncio.sleep(0.2)
            assert upload.confirmed > before
            assert new.is_connected
            assert aggregator.is_connected
            await new.close()
            await leaving.close()
        assert (await js.stream_info("UP_a")).state.messages == upload.confirmed
        await aggregator.close()

    with Broker(office):
        run(scenario)


def test_a_renewed_key_works_beside_the_old_one_until_the_overlap_is_finished(tmp_path: Path) -> None:
    office = make_office(tmp_path / "office")
    a, b = hospital(office, tmp_path, "a"), hospital(office, tmp_path, "b")

    async def scenario() -> None:
        aggregator = await connect(office.aggregator, "aggregator")
        await provision(aggregator.jetstream(timeout=5), ["a", "b"])
        async with Upload(b, "b"), Upload(a, "a"):  # a keeps sending with its old key
            old = tls(a.ca, a.certificate, a.key)
            renew(office, join(a, "a", renew=True))
            await told(office)
            install_kit(office, a, "a")
            new = await connect(a, "a")
            await (await connect(a, "a", tls=old)).close()
        stale = await connect(a, "a", tls=old)
        finish(office, "a")
        await told(office)
        assert await cut(stale)
        with pytest.raises(REFUSED):
            await connect(a, "a", tls=old)
        assert new.is_connected
        for client in (stale, new, aggregator):
            await client.close()

    with Broker(office):
        run(scenario)


def test_a_stolen_key_is_cut_and_the_hospital_comes_back_with_a_new_one(tmp_path: Path) -> None:
    office = make_office(tmp_path / "office")
    a = hospital(office, tmp_path, "a")

    async def scenario() -> None:
        aggregator = await connect(office.aggregator, "aggregator")
        await provision(aggregator.jetstream(timeout=5), ["a"])
        stolen = tls(a.ca, a.certificate, a.key)
        thief = await connect(a, "a", tls=stolen)
        renew(office, join(a, "a", renew=True), cut=True)
        await told(office)
        assert await cut(thief)
        with pytest.raises(REFUSED):
            await connect(a, "a", tls=stolen)
        install_kit(office, a, "a")
        back = await connect(a, "a")
        assert (await back.jetstream(prefix="fljs", timeout=2).publish("fl.up.a.x", b"1")).stream == "UP_a"
        for client in (thief, back, aggregator):
            await client.close()

    with Broker(office):
        run(scenario)


def test_broker_and_aggregator_renew_their_keys_while_a_silo_sends(tmp_path: Path) -> None:
    office = make_office(tmp_path / "office")
    a = hospital(office, tmp_path, "a")

    async def scenario() -> None:
        aggregator = await connect(office.aggregator, "aggregator")
        await provision(aggregator.jetstream(timeout=5), ["a"])
        async with Upload(a, "a"):
            served = (office.broker / "server.pem").read_text()
            renew_broker(office)
            renew_aggregator(office)
            await told(office)
            assert (office.broker / "server.pem").read_text() != served
            again = await connect(office.aggregator, "aggregator")
            assert again.is_connected
            assert aggregator.is_connected  # still with its old key
            finish(office, "aggregator")
            await told(office)
            assert await cut(aggregator)
            await (await connect(a, "a")).close()
            await again.close()
        await aggregator.close()

    with Broker(office):
        run(scenario)


def test_a_configuration_that_the_broker_refuses_is_said_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = make_office(tmp_path / "office")
    a = hospital(office, tmp_path, "a")
    monkeypatch.setattr("aggregator.consortium.reload._WAIT_S", 0.5)

    async def scenario() -> None:
        client = await connect(a, "a")
        office.config.write_text(office.config.read_text() + "nonsense: 1\n")
        with pytest.raises(ConsortiumError, match="goes on with the old one"):
            await told(office)
        assert client.is_connected
        await client.close()

    with Broker(office):
        run(scenario)


def test_a_broker_that_does_not_run_is_not_signalled(tmp_path: Path) -> None:
    office = make_office(tmp_path / "office")
    admit(office, join(PartyFolder(tmp_path / "a"), "a"))
    assert reload_broker(office, office.roster()) is None
    (office.broker / "broker.pid").write_text("1")  # another process has the number by now
    assert reload_broker(office, office.roster()) is None
