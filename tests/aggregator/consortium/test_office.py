"""The coordinator's folder: what it refuses, what it never holds, and how it gets over a crash."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from aggregator.consortium import office as office_module
from aggregator.consortium.coordinator import admit, dismiss, found, refresh, renew, renew_aggregator
from aggregator.consortium.office import Office
from protocol.consortium.folder import PartyFolder, ready
from protocol.consortium.joining import join
from protocol.consortium.records import Kit, Roster, decode, encode, sign
from protocol.errors import ConsortiumError, FedwardError, IdentityError, TrustError
from protocol.identity import Identity
from tests.aggregator.consortium.brokers import hospital, install_kit, make_office, settings


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return make_office(tmp_path / "office")


def test_private_keys_are_for_the_owner_only(office: Office) -> None:
    private = [office.folder / "ca.key", office.folder / "coordinator.key", office.broker / "server.key"]
    private += [office.aggregator.key, office.aggregator.identity]
    assert [stat.S_IMODE(path.stat().st_mode) for path in private] == [0o600] * 5
    assert ready(office.aggregator)[0] == "aggregator"


def test_the_coordinator_never_holds_a_hospitals_private_key(office: Office, tmp_path: Path) -> None:
    place = hospital(office, tmp_path, "a")
    secret = [
        place.identity.read_bytes(),
        place.identity.read_bytes().hex().encode(),
        *place.key.read_bytes().splitlines()[1:-1],
    ]
    everything = b"".join(path.read_bytes() for path in office.folder.rglob("*") if path.is_file())
    assert not any(part in everything for part in secret)


def test_the_broker_folder_holds_no_key_but_the_brokers(office: Office) -> None:
    assert sorted(path.name for path in office.broker.iterdir()) == ["broker.conf", "ca.pem", "server.key", "server.pem"]


@pytest.mark.parametrize("name", ["ca.key", "coordinator.key"])
@pytest.mark.parametrize("harm", ["open", "lost", "other"])
def test_nothing_is_signed_with_a_key_that_is_open_lost_or_another(
    office: Office, tmp_path: Path, name: str, harm: str
) -> None:
    request = join(PartyFolder(tmp_path / "a"), "a")
    key = office.folder / name
    match harm:
        case "open":
            key.chmod(0o644)
        case "lost":
            key.unlink()
        case _:
            key.write_bytes((make_office(tmp_path / "other").folder / name).read_bytes())
    before = office.roster()
    with pytest.raises(FedwardError) as error:
        admit(office, request)
    assert isinstance(error.value, IdentityError | TrustError)
    assert office.roster() == before
    assert key.exists() == (harm != "lost")


def test_a_second_consortium_in_the_same_folder_is_refused(office: Office) -> None:
    before = office.roster()
    with pytest.raises(ConsortiumError, match="already"):
        found(office, "other", "tls://127.0.0.1:1", settings(office.broker, 1))
    assert office.roster() == before


def test_an_old_request_sent_again_is_refused(office: Office, tmp_path: Path) -> None:
    """The TLS key of the first request was stolen and replaced; whoever has it would like it certified again."""
    place = PartyFolder(tmp_path / "a")
    first = join(place, "a")
    admit(office, first)
    install_kit(office, place, "a")
    renew(office, join(place, "a", renew=True), cut=True)
    for again in (lambda: renew(office, first), lambda: renew(office, first, cut=True)):
        with pytest.raises(TrustError, match="had a certificate before"):
            again()
    dismiss(office, "a")
    with pytest.raises(TrustError, match="removed with this identity"):
        admit(office, first)


def test_a_request_that_was_changed_is_refused(office: Office, tmp_path: Path) -> None:
    request = join(PartyFolder(tmp_path / "a"), "a")
    with pytest.raises(TrustError, match="changed"):
        admit(office, msgspec.structs.replace(request, name="b"))
    assert office.roster().members == ()


def test_a_hospital_that_lost_its_identity_gets_a_new_one_under_its_name(office: Office, tmp_path: Path) -> None:
    hospital(office, tmp_path, "a")
    fresh = PartyFolder(tmp_path / "a-new")
    renew(office, join(fresh, "a"))
    install_kit(office, fresh, "a")
    (member,) = office.roster().active
    assert (member.identity, member.former) == (Identity.open(fresh.identity).public_key.hex(), ())


def test_a_removed_hospital_gets_no_kit_and_the_others_a_new_one(office: Office, tmp_path: Path) -> None:
    hospital(office, tmp_path, "a")
    hospital(office, tmp_path, "b")
    roster = dismiss(office, "a")
    assert not office.kit_path("a").exists()
    assert decode(office.kit_path("b").read_bytes(), Kit).roster == roster
    assert [member.state for member in roster.members] == ["revoked", "active"]
    assert "S_a" not in office.config.read_text()


def test_a_roster_that_was_changed_on_disk_is_noticed(office: Office) -> None:
    path = office.folder / "roster.json"
    path.write_bytes(path.read_bytes().replace(b'"sequence":1', b'"sequence":2'))
    with pytest.raises(TrustError, match="forged or changed"):
        refresh(office)


def test_a_roster_signed_by_somebody_else_is_not_replaced_by_ours(office: Office, tmp_path: Path) -> None:
    stranger = Identity.open(tmp_path / "stranger.key")
    forged = msgspec.structs.replace(office.roster(), coordinator=stranger.public_key.hex())
    (office.folder / "roster.json").write_bytes(encode(sign(forged, stranger)))
    with pytest.raises(TrustError, match=r"coordinator\.key is not the one"):
        admit(office, join(PartyFolder(tmp_path / "a"), "a"))


def test_two_changes_at_a_time_are_refused(office: Office) -> None:
    with office.locked(), pytest.raises(ConsortiumError, match="at work"):
        refresh(office)


def test_a_folder_without_a_consortium_says_what_to_do(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(ConsortiumError, match="fedward consortium init"):
            refresh(Office(folder))


@pytest.mark.parametrize("step", range(9))
def test_a_change_that_was_cut_off_is_finished_or_made_again(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    hospital(office, tmp_path, "a")
    place = PartyFolder(tmp_path / "b")
    request, done = join(place, "b"), []
    replace = office_module.replace

    def until(path: Path, data: bytes, *, private: bool = False) -> None:
        if len(done) == step:
            raise KeyboardInterrupt
        done.append(path)
        replace(path, data, private=private)

    monkeypatch.setattr(office_module, "replace", until)
    try:
        admit(office, request)
    except KeyboardInterrupt:
        monkeypatch.undo()
        if office.roster().member("b") is None:
            admit(office, request)
        else:
            refresh(office)
    monkeypatch.undo()
    install_kit(office, place, "b")
    assert ready(place)[1] == office.roster() == known(office.aggregator)
    assert '"S_b"' in office.config.read_text()


def test_a_renewal_of_the_aggregator_that_was_cut_off_is_finished(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    install = office_module.install

    def cut_off(place: PartyFolder, name: str, kit: Kit, coordinator: str) -> Roster:
        if kit.roster.sequence == 2:
            raise KeyboardInterrupt
        return install(place, name, kit, coordinator)

    monkeypatch.setattr(office_module, "install", cut_off)
    with pytest.raises(KeyboardInterrupt):
        renew_aggregator(office)
    monkeypatch.undo()
    assert ready(office.aggregator)[0] == "aggregator"  # its old key is still taken
    renew_aggregator(office)
    assert ready(office.aggregator)[1] == office.roster()
    assert len(office.roster().aggregator.former) == 2


def known(place: PartyFolder) -> Roster | None:
    return place.known_roster()
