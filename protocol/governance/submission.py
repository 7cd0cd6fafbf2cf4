"""A plan as a researcher hands it over: its canonical bytes, a note, and the researcher's signature under both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from protocol.canonical import canonical_json
from protocol.errors import TrustError
from protocol.identity import Identity, verify
from protocol.plan import Plan, parse_canonical

PLAN, COVER = "plan.json", "submission.json"
_MAX_BYTES = 1 << 20


class Cover(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="fedward.submission/1"):
    """What the researcher signs."""

    researcher: Annotated[str, msgspec.Meta(max_length=128)]
    hospital: Annotated[str, msgspec.Meta(max_length=128)]
    cohort: Annotated[str, msgspec.Meta(max_length=128)]
    plan_digest: Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
    note: Annotated[str, msgspec.Meta(max_length=4000)]
    at: Annotated[str, msgspec.Meta(max_length=32)]
    signature: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]


@dataclass(frozen=True)
class HandedOver:
    """A plan that was handed over by someone this hospital knows: the plan itself and what was said with it."""

    plan: Plan
    cover: Cover


def pack(
    plan: Plan, identity: Identity, *, researcher: str, hospital: str, cohort: str, note: str, at: str
) -> dict[str, bytes]:
    """The files of a submission to one hospital, by name."""
    fields: dict[str, Any] = {
        "schema": "fedward.submission/1",
        "researcher": researcher,
        "hospital": hospital,
        "cohort": cohort,
        "plan_digest": plan.digest,
        "note": note,
        "at": at,
    }
    return {PLAN: plan.canonical, COVER: canonical_json(fields | {"signature": identity.sign(fields).hex()})}


def unpack(files: Mapping[str, bytes], researchers: Mapping[str, bytes], hospital: str, sender: str) -> HandedOver:
    """The plan in `files`, which `sender` sent. `researchers`: Ed25519 public keys by name.

    Raises TrustError for files that are no submission, of someone unknown, to another hospital or with a broken signature,
    PlanError for a plan that this release cannot read.
    """
    found = parse(files)
    cover = found.cover
    key = researchers.get(cover.researcher)
    if key is None or sender != cover.researcher:
        raise TrustError(f"it says to be of {cover.researcher[:64]} and came from {sender[:64]}; only named researchers count.")
    fields: dict[str, Any] = msgspec.to_builtins(cover)
    signature = bytes.fromhex(fields.pop("signature"))
    if not verify(key, signature, fields):
        raise TrustError(f"its cover does not bear the signature of {cover.researcher}.")
    if cover.hospital != hospital:
        raise TrustError("it is for another hospital.")
    return found


def parse(files: Mapping[str, bytes]) -> HandedOver:
    """The plan and the cover, which belong together; who signed it is not looked at. Raises TrustError, PlanError."""
    if set(files) != {PLAN, COVER} or any(len(data) > _MAX_BYTES for data in files.values()):
        raise TrustError("it does not hold exactly a plan and its cover; the researcher hands it over with `fedward submit`.")
    try:
        cover = msgspec.json.decode(files[COVER], type=Cover)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise TrustError(f"its cover cannot be read: {error}.") from error
    plan = parse_canonical(files[PLAN])
    if plan.digest != cover.plan_digest:
        raise TrustError("the plan is not the one whose digest the researcher signed.")
    return HandedOver(plan, cover)
