"""A party's folder: private keys stay private, and a kit is put in place wholly or not at all."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from protocol.consortium import joining
from protocol.consortium.certificates import key_digest, load_tls_key, to_pem
from protocol.consortium.files import MAX_BYTES, read_public
from protocol.consortium.folder import PartyFolder, own_name, ready
from protocol.consortium.joining import accept, install, join
from protocol.consortium.records import Kit, Roster, encode, sign
from protocol.consortium.requests import check_request
from protocol.errors import ConsortiumError, IdentityError, TrustError
from protocol.identity import Identity
from tests.protocol.consortium import parties
from tests.protocol.consortium.parties import World

PRIVATE = ("identity", "key", "next_key")


@pytest.fixture
def place(tmp_path: Path) -> PartyFolder:
    return PartyFolder(tmp_path / "a")


def answered(world: World, place: PartyFolder, sequence: int = 7) -> Kit:
    """The coordinator's answer to the request in `place`."""
    key = load_tls_key((place.next_key if place.next_key.exists() else place.key).read_bytes())
    party, certificate = world.certify("a", Identity.open(place.identity), key)
    roster = msgspec.structs.replace(world.roster, members=(party,), sequence=sequence)
    return Kit(sign(roster, world.coordinator), to_pem(certificate))


def joined(place: PartyFolder) -> World:
    world = World()
    join(place, "a")
    install(place, "a", answered(world, place), world.roster.coordinator)
    return world


def contents(place: PartyFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.folder.iterdir()}


def test_keys_are_made_here_for_the_owner_only_and_a_request_holds_none_of_them(place: PartyFolder) -> None:
    request = join(place, "a")
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700
    for private in (place.identity, place.next_key):
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert place.identity.read_bytes().hex() not in encode(request).decode()
    assert b"PRIVATE" not in encode(request)
    assert key_digest(check_request(request)) == place.tls_digest(place.next_key)


def test_asking_again_gives_the_same_request_and_so_the_same_fingerprint(place: PartyFolder) -> None:
    assert join(place, "a") == join(place, "a")
    assert own_name(place) == "a"
    assert join(place, "b").name == "b"  # before the kit, another name is another request from the same keys


def test_a_refused_name_makes_no_keys(place: PartyFolder) -> None:
    with pytest.raises(ConsortiumError):
        join(place, "A name")
    assert not place.folder.exists()


def test_a_kit_makes_the_folder_ready(place: PartyFolder) -> None:
    join(place, "a")
    with pytest.raises(ConsortiumError, match="no kit yet"):
        ready(place)
    world = World()
    install(place, "a", answered(world, place), world.roster.coordinator)
    name, roster = ready(place)
    assert (name, roster.sequence) == ("a", 7)
    assert place.url.read_text() == "tls://broker.example.org:4222\n"
    assert not place.next_key.exists()
    assert not place.request.exists()
    with pytest.raises(ConsortiumError, match="--renew"):
        join(place, "a")


@pytest.mark.parametrize("wrong", ["coordinator", "keys", "certificate", "older", "twin"])
def test_a_kit_that_is_not_right_changes_nothing(place: PartyFolder, wrong: str) -> None:
    world = joined(place)
    other = World()
    right = answered(world, place, sequence=8)
    kit = {
        "coordinator": answered(other, place, sequence=8),
        "keys": Kit(sign(msgspec.structs.replace(world.roster, sequence=8), world.coordinator), world.kit.certificate),
        "certificate": Kit(right.roster, world.kit.certificate),
        "older": answered(world, place, sequence=6),
        "twin": Kit(
            sign(msgspec.structs.replace(right.roster, sequence=7, url="tls://x:1"), world.coordinator), right.certificate
        ),
    }[wrong]
    before = contents(place)
    with pytest.raises(TrustError):
        install(place, "a", kit, other.roster.coordinator)  # who is asked for is of no account once a coordinator is known
    assert contents(place) == before
    install(place, "a", right, "")


@pytest.mark.parametrize("private", PRIVATE)
def test_a_private_key_that_others_may_read_is_refused(place: PartyFolder, private: str) -> None:
    world = joined(place)
    join(place, "a", renew=True)
    kit = answered(world, place, sequence=8)
    getattr(place, private).chmod(0o640)
    before = contents(place)
    with pytest.raises(IdentityError, match="chmod 600"):
        install(place, "a", kit, world.roster.coordinator)
    assert contents(place) == before
    if private != "next_key":
        with pytest.raises(IdentityError, match="chmod 600"):
            ready(place)


def test_a_lost_identity_is_not_silently_replaced(place: PartyFolder) -> None:
    joined(place)
    place.identity.unlink()
    for act in (lambda: ready(place), lambda: join(place, "a", renew=True)):
        with pytest.raises(IdentityError, match="backup"):
            act()
    assert not place.identity.exists()


def test_a_renewal_keeps_the_old_key_in_use_until_its_kit_comes(place: PartyFolder) -> None:
    world = joined(place)
    before = contents(place)
    request = join(place, "a", renew=True)
    assert ready(place)[0] == "a"
    assert {name: data for name, data in contents(place).items() if name in before} == before
    assert request.identity == Identity.open(place.identity).public_key.hex()
    install(place, "a", answered(world, place, sequence=8), "")
    assert place.key.read_bytes() != before["key.pem"]
    assert ready(place)[1].sequence == 8


@pytest.mark.parametrize("step", range(5))
def test_an_installation_that_was_cut_off_is_finished_by_the_next(
    place: PartyFolder, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    world = joined(place)
    join(place, "a", renew=True)
    kit = answered(world, place, sequence=8)
    done = []

    def until(path: Path, data: bytes, *, private: bool = False) -> None:
        if len(done) == step:
            raise KeyboardInterrupt
        done.append(path)
        replace(path, data, private=private)

    replace = joining.replace
    monkeypatch.setattr(joining, "replace", until)
    with pytest.raises(KeyboardInterrupt):
        install(place, "a", kit, "")
    monkeypatch.undo()
    install(place, "a", kit, "")
    assert ready(place)[1].sequence == 8
    assert not place.next_key.exists()


def test_a_roster_from_the_network_is_kept_if_it_is_newer_and_signed(place: PartyFolder) -> None:
    world = joined(place)
    kept = place.known_roster()
    assert kept is not None

    def next_roster(sequence: int) -> Roster:
        return sign(msgspec.structs.replace(kept, sequence=sequence), world.coordinator)

    assert accept(place, next_roster(9))
    assert not accept(place, next_roster(9))
    with pytest.raises(TrustError, match="out of date"):
        accept(place, next_roster(8))
    with pytest.raises(TrustError, match="forged"):
        accept(place, sign(next_roster(10), World().coordinator))
    assert ready(place)[1].sequence == 9


def test_a_removed_party_is_told_so(place: PartyFolder) -> None:
    world = joined(place)
    kept = place.known_roster()
    assert kept is not None
    gone = (msgspec.structs.replace(kept.members[0], state="revoked"),)
    accept(place, sign(msgspec.structs.replace(kept, members=gone, sequence=9), world.coordinator))
    with pytest.raises(TrustError, match="removed from thorax"):
        ready(place)


def test_a_certificate_that_has_ended_is_said_before_a_connection_is_tried(
    place: PartyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    monkeypatch.setattr(parties, "DAYS", -1)
    join(place, "a")
    install(place, "a", answered(world, place), world.roster.coordinator)
    with pytest.raises(ConsortiumError, match="--renew"):
        ready(place)


def test_a_spoiled_request_does_not_stop_a_party_that_has_its_kit(place: PartyFolder) -> None:
    joined(place)
    join(place, "a", renew=True)
    place.request.write_text("spoiled")
    assert ready(place)[0] == "a"
    assert check_request(join(place, "a", renew=True))


def test_a_roster_changed_on_disk_is_noticed(place: PartyFolder) -> None:
    joined(place)
    place.roster.write_bytes(place.roster.read_bytes().replace(b"broker.example.org", b"broker.example.com"))
    with pytest.raises(TrustError, match="forged or changed"):
        ready(place)


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "kit").write_bytes(bytes(MAX_BYTES + 1))
    with pytest.raises(TrustError, match="larger"):
        read_public(tmp_path / "kit")
