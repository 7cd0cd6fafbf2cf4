"""Requests, rosters and kits: only what the right key signed is believed, and nothing that is older."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.canonical import canonical_json
from protocol.consortium.certificates import key_digest, load_certificate, new_tls_key, to_pem
from protocol.consortium.fingerprint import fingerprint, same_fingerprint
from protocol.consortium.records import UNSIGNED, JoinRequest, Kit, Party, Roster, decode, encode, sign
from protocol.consortium.requests import check_name, check_request, make_request, request_fingerprint
from protocol.consortium.rosters import check_kit, check_roster, roster_fingerprint, users
from protocol.errors import ConsortiumError, TrustError
from tests.protocol.consortium.parties import World, certificate, identity

WORLD = World()
COORDINATOR = WORLD.coordinator.public_key.hex()
A = ("a", WORLD.a.public_key.hex(), WORLD.member.tls_key)
ROSTER, KIT = encode(WORLD.roster), encode(WORLD.kit)
REQUEST = make_request("a", WORLD.a, WORLD.a_tls)


def believed(kit: Kit) -> bool:
    """What a hospital does with a kit; raises TrustError."""
    check_roster(kit.roster, COORDINATOR)
    check_kit(kit, *A)
    return True


def changed(**fields: Any) -> Roster:
    """The roster with other values, signed again by the coordinator."""
    return sign(msgspec.structs.replace(WORLD.roster, **fields), WORLD.coordinator)


def test_what_was_signed_is_believed_after_the_way_through_a_file() -> None:
    assert believed(decode(KIT, Kit))
    check_roster(decode(ROSTER, Roster), COORDINATOR, WORLD.roster)
    assert key_digest(check_request(decode(encode(REQUEST), JoinRequest))) == WORLD.member.tls_key
    assert canonical_json(json.loads(ROSTER)) == ROSTER


@given(st.integers(0, len(KIT) - 1), st.integers(1, 255))
def test_a_kit_with_any_byte_changed_is_refused(place: int, change: int) -> None:
    data = bytearray(KIT)
    data[place] ^= change
    with pytest.raises(TrustError):
        believed(decode(bytes(data), Kit))


@given(st.integers(0, len(encode(REQUEST)) - 1), st.integers(1, 255))
def test_a_request_with_any_byte_changed_is_refused(place: int, change: int) -> None:
    data = bytearray(encode(REQUEST))
    data[place] ^= change
    with pytest.raises(TrustError):
        check_request(decode(bytes(data), JoinRequest))


@given(
    st.one_of(
        st.binary(),
        st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=9).map(lambda v: json.dumps(v).encode()),
    )
)
def test_bytes_that_are_no_record_are_a_trust_error(data: bytes) -> None:
    for kind in (JoinRequest, Roster, Kit):
        with pytest.raises(TrustError, match="Ask its sender"):
            decode(data, kind)


def test_one_kind_of_record_is_not_read_as_another() -> None:
    for data, kind in ((ROSTER, JoinRequest), (KIT, Roster), (encode(REQUEST), Kit), (b"[" * 100_000, Roster)):
        with pytest.raises(TrustError):
            decode(data, kind)
    with pytest.raises(TrustError, match="unknown field"):
        decode(canonical_json(json.loads(ROSTER) | {"note": "not signed"}), Roster)


def test_a_roster_of_somebody_else_is_forged() -> None:
    stranger = identity()
    forged = sign(WORLD.roster, stranger)
    own = sign(msgspec.structs.replace(WORLD.roster, coordinator=stranger.public_key.hex()), stranger)
    for roster in (forged, own, msgspec.structs.replace(WORLD.roster, signature=UNSIGNED)):
        with pytest.raises(TrustError, match="not signed by the coordinator"):
            check_roster(roster, COORDINATOR)


def test_an_older_roster_and_two_of_one_number_are_refused() -> None:
    newer = changed(sequence=8)
    check_roster(newer, COORDINATOR, WORLD.roster)
    with pytest.raises(TrustError, match="out of date"):
        check_roster(WORLD.roster, COORDINATOR, newer)
    with pytest.raises(TrustError, match="two rosters with number 7"):
        check_roster(changed(members=()), COORDINATOR, WORLD.roster)
    with pytest.raises(TrustError, match="not of thorax"):
        check_roster(changed(consortium="abdomen", sequence=9), COORDINATOR, WORLD.roster)


B = Party("b", "b" * 64, "b" * 64, "b" * 64)


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ((B, WORLD.member), "sorted"),
        ((WORLD.member, WORLD.member), "twice"),
        ((WORLD.member, msgspec.structs.replace(B, identity=WORLD.member.identity)), "one identity"),
        ((WORLD.member, msgspec.structs.replace(B, identity=COORDINATOR)), "one identity"),
        ((WORLD.member, msgspec.structs.replace(B, identity=WORLD.roster.aggregator.identity)), "one identity"),
        ((WORLD.member, msgspec.structs.replace(B, tls_key=WORLD.member.tls_key)), "one TLS key"),
        ((WORLD.member, msgspec.structs.replace(B, former=(WORLD.member.tls_key,))), "one TLS key"),
        ((msgspec.structs.replace(B, name="broker"),), "a name of the consortium"),
        ((msgspec.structs.replace(B, state="revoked", former=("c" * 64,)),), "removed member"),
    ],
)
def test_a_roster_that_makes_no_sense_is_refused_though_it_is_signed(members: tuple[Party, ...], why: str) -> None:
    with pytest.raises(TrustError, match=why):
        check_roster(changed(members=members), COORDINATOR)


def test_a_kit_for_other_keys_or_with_another_certificate_is_refused() -> None:
    name, own, key = A
    for wrong in ((name, identity().public_key.hex(), key), (name, own, "0" * 64)):
        with pytest.raises(TrustError, match="other keys"):
            check_kit(WORLD.kit, *wrong)
    with pytest.raises(TrustError, match="does not know b"):
        check_kit(WORLD.kit, "b", own, key)
    _, other = WORLD.certify("a", WORLD.a, WORLD.a_tls)
    with pytest.raises(TrustError, match="not the one the coordinator signed for"):
        check_kit(Kit(WORLD.roster, to_pem(other)), *A)
    gone = changed(members=(msgspec.structs.replace(WORLD.member, state="revoked"),))
    with pytest.raises(TrustError, match="removed"):
        check_kit(Kit(gone, WORLD.kit.certificate), *A)


@pytest.mark.parametrize("wrong", ["ca", "subject"])
def test_a_certificate_of_another_ca_or_for_another_name_is_refused_though_it_is_in_the_roster(wrong: str) -> None:
    from protocol.consortium.certificates import certificate_digest, subject

    ca = new_tls_key() if wrong == "ca" else WORLD.ca_key
    name = subject("thorax", "b", "0" * 40) if wrong == "subject" else load_certificate(WORLD.kit.certificate).subject
    issued = certificate(WORLD.a_tls.public_key(), name, ca)
    roster = changed(members=(msgspec.structs.replace(WORLD.member, certificate=certificate_digest(issued)),))
    with pytest.raises(TrustError, match="CA" if wrong == "ca" else "somebody else"):
        check_kit(Kit(roster, to_pem(issued)), *A)


def test_halves_of_two_requests_do_not_make_a_third() -> None:
    """Somebody signs another hospital's certificate request with an identity of his own, or takes another name."""
    thief = identity()
    for parts in (
        {"identity": thief.public_key.hex()},
        {"identity": thief.public_key.hex(), "name": "c"},
        {"csr": make_request("a", WORLD.a, new_tls_key()).csr, "identity": thief.public_key.hex()},
    ):
        with pytest.raises(TrustError, match="another name or identity"):
            check_request(sign(msgspec.structs.replace(REQUEST, **parts), thief))
    renamed = sign(msgspec.structs.replace(REQUEST, name="c"), WORLD.a)
    with pytest.raises(TrustError, match="another name"):
        check_request(renamed)


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a b", "a.b", "a*", "é", "a" * 33, "a\n", "aggregator", "broker", "a>"])
def test_a_name_that_could_mean_something_else_is_refused(name: str) -> None:
    with pytest.raises(ConsortiumError):
        check_name(name)


@given(st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\Z"))
def test_a_plain_name_gives_a_user_that_needs_no_escaping(name: str) -> None:
    roster = msgspec.structs.replace(WORLD.roster, consortium=name)
    (user,) = users(roster, msgspec.structs.replace(WORLD.member, name=name))
    common, unit, organisation = user.split(",")
    assert (common, organisation) == (f"CN={name}", f"O={name}")
    assert unit.removeprefix("OU=").isalnum()


@given(st.binary(), st.binary())
def test_a_fingerprint_is_the_same_for_the_same_bytes_only(one: bytes, other: bytes) -> None:
    digits = fingerprint(one)
    assert [len(group) for group in digits.split(" ")] == [4] * 8
    assert digits.replace(" ", "").isdigit()
    assert same_fingerprint(digits.replace(" ", "-"), digits)
    assert same_fingerprint(digits, fingerprint(other)) == (one == other)
    assert not same_fingerprint(digits[:-1], digits)
    assert not same_fingerprint("", digits)


def test_fingerprints_change_with_what_they_are_of() -> None:
    assert request_fingerprint(REQUEST) != request_fingerprint(make_request("a", WORLD.a, WORLD.a_tls))
    assert roster_fingerprint(WORLD.roster) != roster_fingerprint(changed(sequence=8))
