"""What silos sign, and the checks on it that silos and the aggregator share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from privacy.secure_aggregation.keys import SEAL_BYTES, usable
from privacy.secure_aggregation.manifest import needed
from privacy.secure_aggregation.shamir import SHARE_BYTES
from protocol.canonical import digest_json
from protocol.errors import AggregationError
from protocol.identity import verify
from protocol.secure_aggregation import AUDIT, SCHEMA, Advertisement, EncryptedShares, Manifest, Unmasking, Vouch, Where


def advertised(where: Where, manifest: str, silo: str, mask_key: bytes, share_key: bytes, seed_digest: bytes) -> dict[str, Any]:
    """The JSON a silo signs to advertise its keys."""
    keys = {"mask_key": mask_key.hex(), "share_key": share_key.hex(), "seed_digest": seed_digest.hex()}
    return _statement("advertise", where, manifest, silo) | keys


def vouched(where: Where, manifest: str, silo: str, sharers: str, survivors: Sequence[str]) -> dict[str, Any]:
    """The JSON a silo signs to say which survivors it was shown."""
    return _statement("vouch", where, manifest, silo) | {
        "sharers": sharers,
        "survivors": _names_digest(tuple(sorted(survivors))),
    }


def sharers_digest(advertisements: Sequence[Advertisement]) -> str:
    """Equal for two silos if and only if they were shown the same sharers with the same keys."""
    keys = [[a.silo, a.mask_key.hex(), a.share_key.hex(), a.seed_digest.hex()] for a in advertisements]
    return digest_json(sorted(keys))


@lru_cache(maxsize=256)
def _names_digest(names: tuple[str, ...]) -> str:
    """Of many silos' names at once: each of them signs the same ones."""
    return digest_json(list(names))


def positions(manifest: Manifest) -> dict[str, int]:
    """Each silo's place in the roster, from 1: the argument of its shares, and the order that fixes the signs of masks."""
    return {member.name: place for place, member in enumerate(manifest.roster, start=1)}


def check_place(message_where: Where, message_manifest: str, where: Where, manifest: str, what: str) -> None:
    """Raises AggregationError if a message belongs to another job, round, attempt, purpose or manifest."""
    if message_where != where:
        raise AggregationError(f"{what} belongs to {_words(message_where)}, not to {_words(where)}.")
    if message_manifest != manifest:
        raise AggregationError(f"{what} belongs to another manifest.")


def check_sender(silo: str, named: str) -> None:
    """Raises AggregationError if the transport got a message from another silo than the message names."""
    if silo != named:
        raise AggregationError(f"{silo} sent a message in the name of {named}.")


def check_advertisement(advertisement: Advertisement, manifest: Manifest, digest: str, where: Where) -> None:
    """Raises AggregationError unless it is of a silo of the roster, here and now, signed by it, with keys of use."""
    name = advertisement.silo
    what = f"the advertisement of {name}"
    key = {member.name: member.public_key for member in manifest.roster}.get(name)
    if key is None:
        raise AggregationError(f"{what} was refused: no such silo is in the roster.")
    check_place(advertisement.where, advertisement.manifest, where, digest, what)
    keys = (advertisement.mask_key, advertisement.share_key, advertisement.seed_digest)
    if not verify(key, advertisement.signature, advertised(where, digest, name, *keys)):
        raise AggregationError(f"{what} was refused: it is not signed by the key of {name} in the roster.")
    if not (usable(advertisement.mask_key) and usable(advertisement.share_key)):
        raise AggregationError(f"{what} was refused: its keys are not proper X25519 keys.")


def check_distinct(advertisements: Sequence[Advertisement]) -> None:
    """Raises AggregationError if a silo, a key or a seed appears twice: then somebody shows another's as its own."""
    names = [advertisement.silo for advertisement in advertisements]
    keys = [key for a in advertisements for key in (a.mask_key, a.share_key)]
    seeds = [advertisement.seed_digest for advertisement in advertisements]
    for what, values in (("a silo", names), ("a key", keys), ("a seed", seeds)):
        if len(set(values)) < len(values):
            raise AggregationError(f"the advertisements were refused: {what} is in them twice.")


def check_shares(sender: str, boxes: Sequence[EncryptedShares], advertised: Sequence[str], manifest: str, where: Where) -> None:
    """Raises AggregationError unless there is one box of the right length for each other silo that advertised."""
    what = f"the shares of {sender} were refused:"
    for box in boxes:
        check_place(box.where, box.manifest, where, manifest, f"a share of {sender}")
        if box.sender != sender or len(box.sealed) != SEAL_BYTES + 2 * SHARE_BYTES:
            raise AggregationError(f"{what} one names {box.sender} as its sender, or has {len(box.sealed)} bytes.")
    if sorted(box.receiver for box in boxes) != sorted(silo for silo in advertised if silo != sender):
        raise AggregationError(f"{what} they are not one for each other silo that advertised.")


def check_unmasking(
    unmasking: Unmasking, manifest: str, where: Where, survivors: Sequence[str], dropouts: Sequence[str]
) -> None:
    """Raises AggregationError unless it holds a seed's share of each survivor, a key's of each dropout, and no more."""
    what = f"what {unmasking.silo} revealed"
    check_place(unmasking.where, unmasking.manifest, where, manifest, what)
    seeds, keys = (sorted(share.silo for share in part) for part in (unmasking.seeds, unmasking.keys))
    if seeds != sorted(survivors) or keys != sorted(dropouts):
        raise AggregationError(f"{what} was refused: it is not one share of each silo's seed or mask key.")


def check_vouch(vouch: Vouch, manifest: Manifest, digest: str, where: Where, sharers: str, survivors: Sequence[str]) -> None:
    """Raises AggregationError unless a survivor signed exactly these survivors among exactly these sharers."""
    what = f"the vouch of {vouch.silo}"
    check_place(vouch.where, vouch.manifest, where, digest, what)
    if vouch.silo not in survivors:
        raise AggregationError(f"{what} was refused: it is no survivor.")
    key = {member.name: member.public_key for member in manifest.roster}[vouch.silo]
    if not verify(key, vouch.signature, vouched(where, digest, vouch.silo, vouch.sharers, vouch.survivors)):
        raise AggregationError(f"{what} was refused: it is not signed by the key of {vouch.silo} in the roster.")
    if sorted(vouch.survivors) != sorted(survivors) or vouch.sharers != sharers:
        raise AggregationError(f"{what} was refused: {vouch.silo} was shown other survivors or other sharers.")


def check_enough(count: int, manifest: Manifest, what: str) -> None:
    """Raises AggregationError below max(t, U)."""
    if count < needed(manifest):
        raise AggregationError(f"{count} {what}, {needed(manifest)} are needed; nothing was revealed. Try another attempt.")


def _statement(phase: str, where: Where, manifest: str, silo: str) -> dict[str, Any]:
    place = {"job": where.job, "round": where.round, "attempt": where.attempt, "purpose": where.purpose}
    return {"schema": SCHEMA, "phase": phase, **place, "manifest": manifest, "silo": silo}


def _words(where: Where) -> str:
    return f"job {where.job}, {words(where)}"


def words(where: Where) -> str:
    """The place of an attempt as people read it."""
    kind, split = where.scoring
    what = "audit" if where.purpose == AUDIT else "scores"
    scored = f", {what} of the {kind} model on the {split} part" if kind else ""
    return f"round {where.round}, attempt {where.attempt}{scored}"
