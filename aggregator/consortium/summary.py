"""A consortium in words and figures: what `fedward consortium show` prints."""

from __future__ import annotations

import datetime
from typing import Any

from aggregator.consortium.office import Office
from protocol.consortium.certificates import load_certificate
from protocol.consortium.records import Party, Roster
from protocol.consortium.rosters import key_fingerprint, roster_fingerprint

SOON_DAYS = 30
"""A certificate that ends within so many days is to be renewed now."""


def summary(office: Office, roster: Roster) -> dict[str, Any]:
    """JSON types only; times are UTC in ISO 8601, fingerprints as people read them."""
    return {
        "consortium": roster.consortium,
        "sequence": roster.sequence,
        "url": roster.url,
        "coordinator_fingerprint": key_fingerprint(roster.coordinator),
        "roster_fingerprint": roster_fingerprint(roster),
        "ca_until": _until(roster.ca),
        "broker_until": _until((office.broker / "server.pem").read_text()),
        "aggregator": _party(office, roster.aggregator),
        "silos": [_party(office, member) for member in roster.members],
        "broker_config": str(office.config),
    }


def ends_soon(until: str) -> bool:
    """Whether a time of `summary` is less than SOON_DAYS away, or past."""
    left = datetime.datetime.fromisoformat(until) - datetime.datetime.now(datetime.UTC)
    return left < datetime.timedelta(days=SOON_DAYS)


def _party(office: Office, party: Party) -> dict[str, Any]:
    return {
        "name": party.name,
        "state": party.state,
        "identity_fingerprint": key_fingerprint(party.identity),
        "certificate_until": _until(office.certificate_of(party)),
        "former_keys": len(party.former),
    }


def _until(pem: str) -> str:
    return load_certificate(pem).not_valid_after_utc.isoformat()
