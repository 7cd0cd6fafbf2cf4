"""Changes of a roster: pure functions that return the next one, still to be signed. Each raises `sequence` by one."""

from __future__ import annotations

import msgspec

from protocol.consortium.records import UNSIGNED, Party, Roster
from protocol.consortium.rosters import AGGREGATOR
from protocol.errors import ConsortiumError, TrustError

MAX_MEMBERS = 50
"""As many silos as secure aggregation takes."""


def add(roster: Roster, party: Party) -> Roster:
    """`party` joins. A name that was removed may come back, but with new keys."""
    present = roster.member(party.name)
    if present is not None and present.state == "active":
        raise ConsortiumError(
            f"{party.name} is a member already. For new keys of the same hospital: `fedward consortium rotate {party.name}`; "
            "another hospital needs another name."
        )
    _check_new_identity(roster, party)
    if len(roster.active) >= MAX_MEMBERS:
        raise ConsortiumError(f"a consortium has at most {MAX_MEMBERS} silos; remove one first.")
    return _next(roster, (*(member for member in roster.members if member.name != party.name), party))


def remove(roster: Roster, name: str) -> Roster:
    """`name` is out: the broker knows it no more, and its keys never come back."""
    member = _active(roster, name)
    revoked = msgspec.structs.replace(member, state="revoked", former=())
    return _next(roster, _put(roster, revoked))


def rotate(roster: Roster, party: Party, *, cut: bool) -> Roster:
    """`party` gets other keys. With the same identity its old TLS key is taken until `finish`, unless `cut`.

    A new identity is always a cut: what the old one signs is believed no more.
    """
    present = roster.aggregator if party.name == AGGREGATOR else _active(roster, party.name)
    if party.identity != present.identity:
        _check_new_identity(roster, party)
    keep = not cut and party.identity == present.identity
    former = tuple(dict.fromkeys((present.tls_key, *present.former))) if keep else ()
    changed = msgspec.structs.replace(party, former=former)
    if party.name == AGGREGATOR:
        return _next(roster, roster.members, changed)
    return _next(roster, _put(roster, changed))


def finish(roster: Roster, name: str) -> Roster:
    """Former TLS keys of `name` are taken no more. Raises ConsortiumError if there are none."""
    present = roster.aggregator if name == AGGREGATOR else _active(roster, name)
    if not present.former:
        raise ConsortiumError(f"{name} has no former key that the broker still takes; nothing to finish.")
    ended = msgspec.structs.replace(present, former=())
    return _next(roster, roster.members, ended) if name == AGGREGATOR else _next(roster, _put(roster, ended))


def _active(roster: Roster, name: str) -> Party:
    member = roster.member(name)
    if member is None:
        known = ", ".join(member.name for member in roster.active) or "none yet"
        raise ConsortiumError(f"no member is called {name}; there are: {known}.")
    if member.state != "active":
        raise ConsortiumError(f"{name} was removed already; `fedward consortium add-silo` takes it in again with new keys.")
    return member


def _check_new_identity(roster: Roster, party: Party) -> None:
    for other in (roster.aggregator, *roster.members):
        if other.identity == party.identity:
            state = "was removed with" if other.state == "revoked" else "has"
            raise TrustError(f"{other.name} {state} this identity; every party needs its own: make new keys in a new folder.")


def _put(roster: Roster, party: Party) -> tuple[Party, ...]:
    return tuple(party if member.name == party.name else member for member in roster.members)


def _next(roster: Roster, members: tuple[Party, ...], aggregator: Party | None = None) -> Roster:
    return msgspec.structs.replace(
        roster,
        sequence=roster.sequence + 1,
        members=tuple(sorted(members, key=lambda member: member.name)),
        aggregator=aggregator or roster.aggregator,
        signature=UNSIGNED,
    )
