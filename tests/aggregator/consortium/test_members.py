"""Rosters as they change, and the broker's configuration that follows from each: pure, for any history."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.consortium import members
from aggregator.consortium.broker_config import BrokerSettings, broker_config, settings_of
from aggregator.consortium.permissions import accounts, local, services
from protocol.consortium.records import UNSIGNED, Party, Roster, sign
from protocol.consortium.rosters import check_roster, users
from protocol.errors import ConsortiumError, FedwardError, TrustError
from protocol.transport.nats import subjects
from tests.aggregator.consortium.brokers import SERVER, make_office
from tests.protocol.consortium.parties import World

WORLD = World()
FIRST = msgspec.structs.replace(WORLD.roster, members=(), sequence=1, signature=UNSIGNED)
NAMES = ("a", "a-b", "b", "north", "aggregator")
SETTINGS = BrokerSettings(folder="/srv/broker", hosts=("broker.example.org",))


def party(name: str, who: int, key: int) -> Party:
    def digest(*parts: object) -> str:
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    return Party(name, digest("identity", name, who), digest("key", name, who, key), digest("certificate", name, who, key))


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(("add", "remove", "rotate", "cut", "finish")),
        st.sampled_from(NAMES),
        st.integers(0, 2),
        st.integers(0, 99),
    ),
    max_size=14,
)


def history(changes: list[tuple[str, str, int, int]]) -> list[Roster]:
    """The rosters that come about; refused changes make none."""
    rosters, used = [FIRST], set()
    for what, name, who, key in changes:
        new = party(name, who, key)
        try:
            match what:
                case "add" if name != "aggregator":
                    after = members.add(rosters[-1], new)
                case "remove":
                    after = members.remove(rosters[-1], name)
                case "rotate" | "cut" if new.tls_key not in used:  # the office never certifies a key twice
                    after = members.rotate(rosters[-1], new, cut=what == "cut")
                case "finish":
                    after = members.finish(rosters[-1], name)
                case _:
                    continue
        except FedwardError:
            continue
        used.add(new.tls_key)
        rosters.append(after)
    return rosters


@given(CHANGES)
def test_every_roster_of_a_history_is_sound_and_newer(changes: list[tuple[str, str, int, int]]) -> None:
    known = None
    for roster in history(changes):
        signed = sign(roster, WORLD.coordinator)
        check_roster(signed, signed.coordinator, known)
        assert known is None or signed.sequence == known.sequence + 1
        known = signed


@given(CHANGES)
def test_the_broker_lets_in_exactly_the_active_members_each_in_its_own_account(
    changes: list[tuple[str, str, int, int]],
) -> None:
    for roster in history(changes):
        found = accounts(roster, 1, 1)
        assert set(found) == {"FL", "SYS"} | {f"S_{member.name}" for member in roster.active}
        assert found["SYS"] == {}
        for member in roster.active:
            assert [entry["user"] for entry in found[f"S_{member.name}"]["users"]] == list(users(roster, member))
        everybody = [entry["user"] for account in found.values() for entry in account.get("users", [])]
        assert len(everybody) == len(set(everybody))


@given(CHANGES)
def test_an_account_reaches_its_own_subjects_only(changes: list[tuple[str, str, int, int]]) -> None:
    roster = history(changes)[-1]
    found = accounts(roster, 1, 1)
    owners = {export["service"]: export["accounts"] for export in found["FL"]["exports"]}
    assert len(owners) == len(found["FL"]["exports"])
    for member in roster.active:
        mine = {subject for subject, _ in services(member.name)}
        imported = [entry["service"]["subject"] for entry in found[f"S_{member.name}"]["imports"]]
        assert set(imported) == mine == {subject for subject, who in owners.items() if who == [f"S_{member.name}"]}
        for subject in mine:
            assert member.name in subject.replace("_", ".").split(".")


def test_a_member_is_added_once_and_a_removed_one_needs_new_keys() -> None:
    one = members.add(FIRST, party("a", 0, 0))
    with pytest.raises(ConsortiumError, match="a member already"):
        members.add(one, party("a", 1, 1))
    gone = members.remove(one, "a")
    with pytest.raises(ConsortiumError, match="removed already"):
        members.remove(gone, "a")
    with pytest.raises(TrustError, match="removed with this identity"):
        members.add(gone, party("a", 0, 1))
    assert members.add(gone, party("a", 1, 1)).active[0].former == ()
    with pytest.raises(ConsortiumError, match=r"there are: a\."):
        members.remove(one, "b")


def test_a_new_identity_ends_the_old_key_at_once() -> None:
    one = members.add(FIRST, party("a", 0, 0))
    assert members.rotate(one, party("a", 0, 1), cut=False).active[0].former == (party("a", 0, 0).tls_key,)
    assert members.rotate(one, party("a", 1, 1), cut=False).active[0].former == ()
    assert members.rotate(one, party("a", 0, 1), cut=True).active[0].former == ()


def test_as_many_as_secure_aggregation_takes() -> None:
    roster = FIRST
    for index in range(members.MAX_MEMBERS):
        roster = members.add(roster, party(f"silo-{index}", 0, 0))
    with pytest.raises(ConsortiumError, match="at most 50"):
        members.add(roster, party("one-more", 0, 0))


def test_the_configuration_depends_on_nothing_but_roster_and_settings() -> None:
    roster = members.add(FIRST, party("a", 0, 0))
    assert broker_config(roster, SETTINGS) == broker_config(roster, SETTINGS)
    text = broker_config(roster, SETTINGS)
    for line in ('"verify_and_map": true', '"min_version": "1.3"', 'http: "127.0.0.1:8222"', '"handshake_first": true'):
        assert line in text
    assert '"nkey"' not in text
    assert '"password"' not in text


@pytest.mark.parametrize("name", ["plain", 'with "quotes" and spaces', "with \\ backslash", "größe", "with 'single' $HOME #"])
def test_the_real_broker_reads_the_configuration_wherever_its_folder_lies(tmp_path: Path, name: str) -> None:
    office = make_office(tmp_path / name)
    done = subprocess.run([SERVER, "-t", "-c", office.config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("url", "listen"),
    [
        ("nats://broker:4222", "0.0.0.0:4222"),
        ("tls://", "0.0.0.0:4222"),
        ("tls://a b:1", "0.0.0.0:4222"),
        ('tls://broker:1"', "0.0.0.0:4222"),
        ("tls://broker:99999", "0.0.0.0:4222"),
        ("tls://broker:1", "4222"),
        ("tls://broker:1", '0.0.0.0:1"\nx: "'),
    ],
)
def test_an_address_that_cannot_be_is_refused(url: str, listen: str) -> None:
    with pytest.raises(ConsortiumError):
        settings_of(url, "/srv", (), listen, "", 8222, 1 << 30)


@pytest.mark.parametrize(
    ("url", "listen", "websocket", "says"),
    [
        ("nats://broker:4222", "", "", "--url nats://broker:4222: write tls://HOST:PORT"),
        ("broker:4222", "", "", "--url broker:4222: write tls://HOST:PORT"),
        ("tls://broker:1", "4222", "", "--listen: write HOST:PORT"),
        ("tls://broker:1", "", "443", "--websocket: write HOST:PORT"),
    ],
)
def test_an_address_that_cannot_be_is_named_with_what_can(url: str, listen: str, websocket: str, says: str) -> None:
    with pytest.raises(ConsortiumError, match=says):
        settings_of(url, "/srv", (), listen, websocket, 8222, 1 << 30)


@pytest.mark.parametrize(
    ("url", "port"), [("tls://broker:4333", 4333), ("tls://broker", 4222), ("wss://broker:443", 4222), ("wss://broker", 4222)]
)
def test_the_broker_listens_where_hospitals_call_unless_told_otherwise(url: str, port: int) -> None:
    assert settings_of(url, "/srv", (), "", "", 8222, 1 << 30).listen == f"0.0.0.0:{port}"
    assert settings_of(url, "/srv", (), "127.0.0.1:5", "", 8222, 1 << 30).listen == "127.0.0.1:5"


def test_the_certificate_is_for_the_address_in_the_url() -> None:
    made = settings_of("tls://broker.example.org:4222", "/srv", ("10.0.0.1", "broker.example.org"), "0.0.0.0:1", "", 8222, 1)
    assert made.hosts == ("broker.example.org", "10.0.0.1")


def test_permissions_name_the_subjects_that_the_transport_uses() -> None:
    used = {
        subjects.up("north", ">"),
        subjects.heartbeat("north"),
        subjects.next_messages(subjects.API, subjects.down_stream("north"), subjects.INBOX),
        subjects.next_messages(subjects.API, subjects.BROADCAST, "north"),
    }
    assert used <= {subject for subject, _ in services("north")}
    own = subjects.next_messages(subjects.SILO_API, subjects.down_stream("north"), subjects.INBOX)
    assert own in {local(subject) for subject, _ in services("north")}
    assert FIRST.aggregator.name == subjects.AGGREGATOR
