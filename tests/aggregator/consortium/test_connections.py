"""Who gets a connection: a certificate of the roster, used with its own key, over TLS 1.3, and nobody else."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import nats.errors
import pytest

from aggregator.consortium.authority import Authority
from aggregator.consortium.office import Office
from protocol.consortium.certificates import (
    binding,
    key_digest,
    load_certificate,
    load_tls_key,
    new_tls_key,
    subject,
    tls_key_bytes,
    to_pem,
)
from protocol.consortium.folder import PartyFolder
from protocol.consortium.rosters import users
from protocol.identity import Identity
from tests.aggregator.consortium.brokers import Broker, connect, hospital, make_office, run, tls

REFUSALS = (nats.errors.Error, ssl.SSLError, OSError)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Office, PartyFolder, PartyFolder]]:
    folder = tmp_path_factory.mktemp("house")
    office = make_office(folder / "office")
    a, b = hospital(office, folder, "a"), hospital(office, folder, "b")
    with Broker(office):
        yield office, a, b


House = tuple[Office, PartyFolder, PartyFolder]


def certified(office: Office, folder: Path, name: str, bound: str, authority: Authority | None = None) -> tuple[Path, Path]:
    """Certificate and key files for that subject, from the consortium's CA or another."""
    authority, key = authority or office.authority(), new_tls_key()
    certificate = authority.issue_client(subject("thorax", name, bound), key.public_key())
    (folder / "certificate.pem").write_text(to_pem(certificate))
    (folder / "key.pem").write_bytes(tls_key_bytes(key))
    return folder / "certificate.pem", folder / "key.pem"


def refused(place: PartyFolder, context: ssl.SSLContext, **options: object) -> bool:
    """Whether a connection with this TLS context is refused."""
    outcome: list[bool] = []

    async def scenario() -> None:
        try:
            client = await connect(place, "a", tls=context, **options)
            await client.flush()
        except REFUSALS:
            outcome.append(True)
        else:
            outcome.append(False)
            await client.close()

    run(scenario)
    return outcome == [True]


def test_a_member_is_let_in_as_the_pair_of_keys_of_the_roster(house: House) -> None:
    office, a, _ = house
    roster = office.roster()

    async def scenario() -> None:
        client = await connect(a, "a")
        port = office.settings().monitor_port
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/connz?auth=1") as answer:
            (entry,) = json.loads(answer.read())["connections"]
        assert (entry["authorized_user"], entry["account"]) == (users(roster, roster.members[0])[0], "S_a")
        assert entry["tls_version"] == "1.3"
        await client.close()

    run(scenario)


def test_without_a_certificate_nobody_gets_in(house: House) -> None:
    assert refused(house[1], tls(house[1].ca))


def test_a_certificate_of_another_ca_does_not_get_in(house: House, tmp_path: Path) -> None:
    office, a, _ = house
    party = office.roster().members[0]
    bound = binding(party.name, party.identity, party.tls_key)
    files = certified(office, tmp_path, "a", bound, Authority.create("thorax"))
    assert refused(a, tls(a.ca, *files))


@pytest.mark.parametrize("beside", ["nothing", "a's user name", "a's user name as a token", "a's identity as an NKey"])
def test_a_certificate_of_b_is_b_whatever_is_shown_beside_it(house: House, beside: str) -> None:
    """With b's certificate, a's inbox and a's identity one gets nothing or b's account, where a's subjects do not exist."""
    office, a, b = house
    wanted = users(office.roster(), office.roster().members[0])[0]
    seed = ""
    if "NKey" in beside:
        nkeys = pytest.importorskip("nkeys")  # an extra of nats-py, for clients that use them
        seed = nkeys.encode_seed(a.identity.read_bytes(), nkeys.PREFIX_BYTE_USER).decode()
    options = {
        "nothing": {},
        "a's user name": {"user": wanted, "password": "x"},
        "a's user name as a token": {"token": wanted},
        "a's identity as an NKey": {"nkeys_seed_str": seed},
    }[beside]

    async def scenario() -> None:
        try:
            client = await connect(a, "a", tls=tls(b.ca, b.certificate, b.key), **options)
        except REFUSALS:
            return
        port = office.settings().monitor_port
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/connz?auth=1") as answer:
            assert [entry["account"] for entry in json.loads(answer.read())["connections"]] == ["S_b"]
        with pytest.raises(nats.errors.Error):
            await client.jetstream(prefix="fljs", timeout=0.5).publish("fl.up.a.m", b"forged")
        await client.close()

    run(scenario)


@pytest.mark.parametrize("mixed", ["identity", "key", "name"])
def test_a_certificate_of_our_ca_for_another_pair_of_keys_does_not_get_in(house: House, tmp_path: Path, mixed: str) -> None:
    """As if the CA had signed it: a's name with b's identity or another key is in no roster, so it is nobody."""
    office, a, b = house
    party = office.roster().members[0]
    other = Identity.open(b.identity).public_key.hex()
    fresh = key_digest(new_tls_key().public_key())
    bound = {
        "identity": binding("a", other, party.tls_key),
        "key": binding("a", party.identity, fresh),
        "name": binding("b", party.identity, party.tls_key),
    }[mixed]
    assert refused(a, tls(a.ca, *certified(office, tmp_path, "a", bound)))


def test_a_thief_of_the_ca_key_cannot_open_an_account(house: House, tmp_path: Path) -> None:
    """The certificate has the very subject of the roster and our CA's signature; its key is not in the roster."""
    office, a, _ = house
    party = office.roster().members[0]
    assert refused(a, tls(a.ca, *certified(office, tmp_path, "a", binding(party.name, party.identity, party.tls_key))))


def test_a_certificate_without_its_key_is_useless(house: House, tmp_path: Path) -> None:
    _, a, b = house
    with pytest.raises(ssl.SSLError):
        tls(a.ca, a.certificate, b.key)


def test_tls_older_than_1_3_is_refused(house: House) -> None:
    context = tls(house[1].ca, house[1].certificate, house[1].key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert refused(house[1], context)


def test_a_silo_cannot_pose_as_the_broker(house: House) -> None:
    """Its certificate is for clients: a client that meets it as a server ends the handshake."""
    _, a, _ = house
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(a.certificate, a.key)
    client = tls(a.ca)
    client.check_hostname = False
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)

    def shake() -> None:
        for end in ends * 4:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()

    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        shake()


def test_the_monitoring_port_is_on_loopback(house: House) -> None:
    office = house[0]
    port = office.settings().monitor_port
    held = [line for line in Path("/proc/net/tcp").read_text().splitlines() if f":{port:04X} " in line and " 0A " in line]
    assert [line.split()[1].split(":")[0] for line in held] == ["0100007F"]


def test_keys_of_the_kit_are_those_of_the_hospital(house: House) -> None:
    _, a, _ = house
    certificate = load_certificate(a.certificate.read_text())
    assert key_digest(certificate.public_key()) == key_digest(load_tls_key(a.key.read_bytes()).public_key())
