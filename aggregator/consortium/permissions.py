"""What a party may do at the broker: an account per silo, and the few services that cross between accounts.

Inside one account a silo could name any subject as the reply of its own request, and the broker would publish there in its own
name: streams of others were deleted that way. Between accounts only what is exported and imported here passes, replies too.
"""

from __future__ import annotations

from typing import Any

from protocol.consortium.records import Party, Roster
from protocol.consortium.rosters import users

HOUSE = "FL"
"""The account of the aggregator, where all streams are."""
SYSTEM = "SYS"
"""The broker's own account; nobody is in it."""
SILO_PREFIX = "fljs"
"""A silo's name for `$JS.API`: what it passes to its client as the JetStream prefix."""

_API = "$JS.API"
_CONNECTIONS, _SUBSCRIPTIONS = 8, 64
_KINDS = ["STANDARD", "WEBSOCKET"]


def account(silo: str) -> str:
    """The account of one silo."""
    return f"S_{silo}"


def services(silo: str) -> tuple[tuple[str, str], ...]:
    """Subjects of HOUSE that `silo` may reach, and how they answer (Singleton: once; Stream: many times)."""
    consumers = (f"DOWN_{silo}.in", f"BCAST.{silo}")
    return (
        (f"fl.up.{silo}.>", "Singleton"),
        (f"fl.hb.{silo}", "Singleton"),
        *((f"{_API}.CONSUMER.INFO.{consumer}", "Singleton") for consumer in consumers),
        *((f"{_API}.CONSUMER.MSG.NEXT.{consumer}", "Stream") for consumer in consumers),
        *((f"$JS.ACK.{consumer}.>", "Singleton") for consumer in consumers),
    )


def local(subject: str) -> str:
    """What a silo calls a subject of HOUSE."""
    return SILO_PREFIX + subject.removeprefix(_API) if subject.startswith(f"{_API}.") else subject


def accounts(roster: Roster, max_mem: int, max_file: int) -> dict[str, Any]:
    """All accounts of the broker for this roster; `max_mem` and `max_file` bound JetStream (bytes)."""
    silos = [member.name for member in roster.active]
    aggregator = {
        "publish": {"allow": ["fl.down.>", "fl.bc.>", f"{_API}.>", "$JS.ACK.>"]},
        "subscribe": {"allow": [f"_INBOX_{roster.aggregator.name}.>", "fl.hb.*"]},
    }
    exports = [
        {"service": subject, "response_type": kind, "accounts": [account(silo)]}
        for silo in silos
        for subject, kind in services(silo)
    ]
    house = {
        "jetstream": {"max_mem": max_mem, "max_file": max_file},
        "users": _users(roster, roster.aggregator, aggregator),
        "exports": exports,
    }
    return {HOUSE: house, SYSTEM: {}} | {account(member.name): _silo(roster, member) for member in roster.active}


def _silo(roster: Roster, member: Party) -> dict[str, Any]:
    subjects = [subject for subject, _ in services(member.name)]
    permissions = {
        "publish": {"allow": [local(subject) for subject in subjects]},
        "subscribe": {"allow": [f"_INBOX_{member.name}.>"]},
    }
    imports = [
        {"service": {"account": HOUSE, "subject": subject}} | ({"to": local(subject)} if local(subject) != subject else {})
        for subject in subjects
    ]
    limits = {"max_connections": _CONNECTIONS, "max_subscriptions": _SUBSCRIPTIONS}
    return {"users": _users(roster, member, permissions), "limits": limits, "imports": imports}


def _users(roster: Roster, party: Party, permissions: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"user": user, "permissions": permissions, "allowed_connection_types": _KINDS} for user in users(roster, party)]
