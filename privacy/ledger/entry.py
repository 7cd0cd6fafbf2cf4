"""One line of the ledger: canonical JSON that carries its own digest and the digest of the line before.

The first line (genesis) names the format, the cohort and the time; every other line is one charge. `digest` is the SHA-256 of
the canonical JSON of the line without `digest`, and `prev` is the `digest` of the line before: whoever changes, removes or
moves a line changes every digest after it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import rfc8785

from privacy.event_json import Event, decode, encode
from protocol.canonical import canonical_json, digest_json
from protocol.errors import LedgerError

SCHEMA = "fedward.ledger/1"
PARTS = ("train", "validation", "test")
_FIELDS = frozenset({"seq", "prev", "at", "study", "plan", "job", "release", "part", "event", "delta"})
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
_LONGEST = 256  # characters of a name


@dataclass(frozen=True)
class Head:
    """A state of the ledger: how many charges it holds and the digest of its last line. Given out as a witness."""

    entries: int
    digest: str


@dataclass(frozen=True)
class Charge:
    """A charge that is on disk."""

    digest: str
    seq: int
    fresh: bool = True
    """False: this very release had been charged before. The same bytes may be sent again; a new sample may not."""


@dataclass(frozen=True)
class Entry:
    """One charge: what was about to be released, and what it costs the patients of one part."""

    seq: int
    prev: str
    at: str
    """UTC, as 2026-01-31T23:59:59Z."""
    study: str
    """Name of the plan."""
    plan: str
    """Digest of the plan."""
    job: str
    release: str
    """Unique within the job, such as round/3 or scores/5/federated/validation."""
    part: str
    event: Event
    delta: float
    """The plan's delta; budgets are kept at the hospital's own."""
    digest: str

    def pays_for(self, other: Entry) -> bool:
        """Whether both stand for the same release with the same price."""
        return self._price() == other._price()

    def _price(self) -> tuple[Any, ...]:
        return self.study, self.plan, self.job, self.release, self.part, canonical_json(encode(self.event)), self.delta


def genesis_line(cohort: str, created: str) -> bytes:
    """The first line of a ledger, without its line end. Raises LedgerError."""
    line = _sealed({"schema": SCHEMA, "cohort": cohort, "created": created})
    read_genesis(line)
    return line


def read_genesis(line: bytes) -> tuple[str, str, str]:
    """(cohort, created, digest) of a first line. Raises LedgerError saying what is wrong with it."""
    value, digest = _opened(line)
    if value.get("schema") != SCHEMA:
        raise LedgerError(f"it is not of the format {SCHEMA}")
    if value.keys() != {"schema", "cohort", "created"} or not _is_name(value["cohort"]) or not _is(_TIME, value["created"]):
        raise LedgerError("it has other fields than a first line has")
    return value["cohort"], value["created"], digest


def charge_line(value: dict[str, Any]) -> tuple[bytes, Entry]:
    """The line of a charge, without its line end, and what it says. Raises LedgerError if a field is not allowed."""
    line = _sealed(value)
    return line, read_charge(line, value["seq"], value["prev"])


def read_charge(line: bytes, seq: int, prev: str) -> Entry:
    """The charge in `line`, which must be number `seq` and follow `prev`. Raises LedgerError saying what is wrong with it."""
    value, digest = _opened(line)
    if value.keys() != _FIELDS:
        raise LedgerError(f"its fields are not those of a charge: {sorted(value.keys() ^ _FIELDS)}")
    if value["seq"] != seq or isinstance(value["seq"], bool):
        raise LedgerError(f"it is number {value['seq']!r} where {seq} is due: a line was removed, added or moved")
    if value["prev"] != prev:
        raise LedgerError("it does not follow the line before: that line was changed, or this is from another ledger")
    for name in ("study", "plan", "job", "release"):
        if not _is_name(value[name]):
            raise LedgerError(f"{name} is not a text of 1 to {_LONGEST} characters")
    if value["part"] not in PARTS or not _is(_TIME, value["at"]):
        raise LedgerError("its part or time is not one that fedward writes")
    delta = value["delta"]
    if isinstance(delta, bool) or not isinstance(delta, float | int) or not 0.0 < delta < 1.0:
        raise LedgerError("delta is not between 0 and 1")
    return Entry(**(value | {"event": decode(value["event"]), "delta": float(delta)}), digest=digest)


def _sealed(value: dict[str, Any]) -> bytes:
    try:
        return canonical_json(value | {"digest": digest_json(value)})
    except (rfc8785.CanonicalizationError, TypeError) as error:
        raise LedgerError(f"a value cannot be written to the ledger ({error}).") from error


def _opened(line: bytes) -> tuple[dict[str, Any], str]:
    try:
        value = json.loads(line.decode("utf-8"))
        if not isinstance(value, dict) or canonical_json(value) != line:
            raise LedgerError("it is not one JSON object in canonical form")
        digest = value.pop("digest", None)
        if not _is(_DIGEST, digest) or digest_json(value) != digest:
            raise LedgerError("its digest does not fit what it says")
    except (ValueError, RecursionError, rfc8785.CanonicalizationError) as error:
        raise LedgerError("it is not one JSON object in canonical form") from error
    return value, digest


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= _LONGEST and value.isprintable()
