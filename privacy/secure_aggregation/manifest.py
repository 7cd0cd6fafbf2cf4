"""What a silo checks before it takes part: who else does, and that the aggregator chose no weaker rules than the plan's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from privacy.secure_aggregation.fixed_point import WIDTHS
from protocol.canonical import digest_json
from protocol.errors import AggregationError
from protocol.secure_aggregation import SCHEMA, Manifest, Member

MIN_SILOS, MAX_SILOS = 3, 50


def least_threshold(n: int) -> int:
    """t = floor(2n/3) + 1: two different groups of t silos share more than a third of all."""
    return 2 * n // 3 + 1


def default_colluders(n: int) -> int:
    """c = floor((n - 1) / 3)."""
    return (n - 1) // 3


@dataclass(frozen=True)
class Rules:
    """What the hospital's own copy of the plan says about every manifest of the job."""

    job: str
    plan_digest: str
    size: int
    width_bits: int
    min_silos: int = MIN_SILOS
    min_survivors: int = 0
    """U may not be smaller."""
    colluders: int = 0
    """c may not be smaller."""
    parameters: Mapping[str, Any] | None = None
    """Must be equal; None: are not looked at."""


def manifest_digest(manifest: Manifest) -> str:
    """`sha256:...` of the manifest's canonical JSON, keys in hexadecimal. Raises AggregationError if it has none."""
    fields = msgspec.structs.asdict(manifest)
    fields["roster"] = [[member.name, member.public_key.hex()] for member in manifest.roster]
    try:
        return digest_json(fields)
    except (ValueError, TypeError) as error:  # NaN, integers beyond 2^53, what is no JSON
        raise AggregationError(f"the manifest has no canonical JSON: {error}.") from error


def needed(manifest: Manifest) -> int:
    """max(t, U): how many silos every phase but the last needs."""
    return max(manifest.threshold, manifest.min_survivors)


def check_sound(manifest: Manifest) -> None:
    """What must hold of every manifest, whoever made it. Raises AggregationError naming what does not.

    2t > n + c: two different survivor sets cannot both find t silos that vouch, as only the c colluders vouch twice.
    """
    n, t, names = len(manifest.roster), manifest.threshold, [member.name for member in manifest.roster]
    keys = [member.public_key for member in manifest.roster]
    problem = None
    if manifest.schema != SCHEMA:
        problem = f"it has the schema {manifest.schema!r}, this release speaks {SCHEMA!r}"
    elif not MIN_SILOS <= n <= MAX_SILOS:
        problem = f"{n} silos; a sum hides a hospital only among {MIN_SILOS} to {MAX_SILOS}"
    elif len(set(names)) < n or "" in names:
        problem = "a silo is in the roster twice, or has no name"
    elif len(set(keys)) < n or any(len(key) != 32 for key in keys):
        problem = "two silos have the same public key, or a key is not of 32 bytes"
    elif not least_threshold(n) <= t <= n:
        problem = f"threshold {t} of {n} silos; it must lie between {least_threshold(n)} and {n}"
    elif not t <= manifest.min_survivors <= n:
        problem = f"min_survivors {manifest.min_survivors} must lie between the threshold {t} and {n}"
    elif manifest.colluders < 0 or 2 * t <= n + manifest.colluders:
        problem = f"threshold {t} of {n} does not hold against {manifest.colluders} colluding silos"
    elif manifest.width_bits not in WIDTHS or manifest.size < 1:
        problem = f"{manifest.size} values of {manifest.width_bits} bits cannot be summed"
    if problem:
        raise AggregationError(f"the manifest was refused: {problem}. Nothing was sent.")


def check_manifest(manifest: Manifest, pinned: Sequence[Member], me: str, own_key: bytes, rules: Rules) -> None:
    """Refuse a manifest that is unsound, not of this plan, or not among the silos whose keys this hospital has pinned.

    `pinned` is the roster the hospital got from the others, not from the aggregator. Raises AggregationError.
    """
    check_sound(manifest)
    _check_roster({m.name: m.public_key for m in manifest.roster}, {m.name: m.public_key for m in pinned}, me, own_key)
    differs = [
        (name, theirs, ours)
        for name, theirs, ours in (
            ("job", manifest.job, rules.job),
            ("plan digest", manifest.plan_digest, rules.plan_digest),
            ("size", manifest.size, rules.size),
            ("width_bits", manifest.width_bits, rules.width_bits),
            ("parameters", manifest.parameters, manifest.parameters if rules.parameters is None else dict(rules.parameters)),
        )
        if theirs != ours
    ]
    for name, theirs, ours in differs:
        raise AggregationError(f"the manifest was refused: its {name} is {theirs!r}, the plan's is {ours!r}. Nothing was sent.")
    for name, value, least in (
        ("silos", len(manifest.roster), rules.min_silos),
        ("min_survivors", manifest.min_survivors, rules.min_survivors),
        ("colluders", manifest.colluders, rules.colluders),
    ):
        if value < least:
            raise AggregationError(f"the manifest was refused: {name} is {value}, the plan wants {least}. Nothing was sent.")


def _check_roster(roster: Mapping[str, bytes], pinned: Mapping[str, bytes], me: str, own_key: bytes) -> None:
    if roster.get(me) != own_key:
        raise AggregationError(f"the manifest was refused: {me} is not in its roster with this silo's key. Nothing was sent.")
    strange = sorted(name for name in roster.keys() | pinned.keys() if roster.get(name) != pinned.get(name))
    if strange:
        raise AggregationError(
            f"the manifest was refused: it differs from the pinned roster in {', '.join(strange)}. Nothing was sent; compare "
            f"public keys with these silos by another way than the aggregator."
        )
