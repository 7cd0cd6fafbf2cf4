"""The folder an auditor is given: which files are in it, and what each holds. Every JSON file has one spelling (dsse.parse).

plan.json             the plan's canonical JSON
checkpoint.json       Checkpoint
cosignatures.json     Cosignatures
receipts/SITE.jsonl   each silo's receipts, a line each
rounds.json           Course: what the aggregator says happened
index.json            Index in an envelope, signed by the aggregator
README.txt            for people
site-keys.json        SiteKeys; of one-machine runs only
restricted/           what figures are made from: exact sums hold small cells
    releases/HEX      a release as it left a silo; HEX is the SHA-256 of its bytes
    sums/NAME.json    SumEvidence
"""

from __future__ import annotations

from msgspec import Struct

from protocol.messages import Edges
from protocol.secure_aggregation import Manifest, Where

PLAN, CHECKPOINT, COSIGNATURES, COURSE, INDEX = "plan.json", "checkpoint.json", "cosignatures.json", "rounds.json", "index.json"
README, KEYS, RECEIPTS, RESTRICTED = "README.txt", "site-keys.json", "receipts/", "restricted/"
RELEASES, SUMS = f"{RESTRICTED}releases/", f"{RESTRICTED}sums/"
AGGREGATOR = "aggregator"
INDEX_TYPE = "application/vnd.fedward.evidence-index+json"


class Index(Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="fedward.evidence/1"):
    """The SHA-256 of every other file of the bundle, and of the job's report.json."""

    job: str
    files: dict[str, str]
    report: str


class Cosignatures(Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="fedward.cosignatures/1"):
    """Each silo's envelope, as text; `failures` says why another has none."""

    signed: dict[str, str]
    failures: dict[str, str]


class RoundCourse(Struct, frozen=True, forbid_unknown_fields=True):
    """A round as the aggregator remembers it, as far as a report tells of it."""

    round: int
    attempt: int
    seconds: float
    configured: tuple[str, ...]
    trained: tuple[str, ...]
    aggregated: tuple[str, ...]
    failures: dict[str, str]
    losses: dict[str, float]
    upload_bytes: dict[str, int]
    work: dict[str, float]
    rejected: str | None
    weights: dict[str, float] = {}


class ScoringCourse(Struct, frozen=True, forbid_unknown_fields=True):
    """One model scored on one part. `used`: the commitment of the release that each silo's figures were taken from.

    Where only a sum is known, `survivors` are in it and `sum` names its evidence; or `unsummed` says why there is none.
    """

    round: int
    kind: str
    split: str
    used: dict[str, str]
    failures: dict[str, str]
    survivors: tuple[str, ...] = ()
    sum: str | None = None
    unsummed: str | None = None


class AuditCourse(Struct, frozen=True, forbid_unknown_fields=True):
    """The audit of the final model, with the edges it was counted between; else as ScoringCourse."""

    round: int
    edges: Edges
    used: dict[str, str]
    failures: dict[str, str]
    sites: tuple[str, ...] = ()
    sum: str | None = None
    unsummed: str | None = None


class Course(Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="fedward.course/1"):
    """What the aggregator says happened. `described`: the commitment of each silo's description; `absent`: why one has none."""

    job: str
    configured: tuple[str, ...]
    described: dict[str, str]
    absent: dict[str, str]
    rounds: tuple[RoundCourse, ...]
    scorings: tuple[ScoringCourse, ...]
    audit: AuditCourse | None
    software: dict[str, str]


class SumEvidence(Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="fedward.sum/1"):
    """Everything that opened one sum of counts: by silo, the commitments of what it sent in each phase.

    `sharers` shared their secrets; of them those in `masked` are in the sum.
    """

    where: Where
    manifest: Manifest
    advertised: dict[str, str]
    sharers: tuple[str, ...]
    masked: dict[str, str]
    vouched: dict[str, str]
    revealed: dict[str, str]


def release_path(commitment: str) -> str:
    """Where the release with this commitment lies in a bundle."""
    return RELEASES + commitment.removeprefix("sha256:")


def sum_name(purpose: str, number: int) -> str:
    """The name of the evidence of one sum."""
    return f"{purpose.replace('/', '-')}-{number}"


def sum_path(name: str) -> str:
    """Where that evidence lies in a bundle."""
    return f"{SUMS}{name}.json"
