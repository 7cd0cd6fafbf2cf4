"""The aggregator in a secure aggregation: pure steps from a state and the silos' messages to the next state.

Silos trust nothing it says; what it checks here only makes failures early and gives each a name. Every gathering step takes the
messages by the name of the silo that the transport got them from, and returns why each refused one was refused: that silo has
dropped out. Fewer than max(t, U) left: AggregationError, the attempt is over and nothing was revealed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from msgspec.structs import replace

from privacy.secure_aggregation.manifest import check_sound, manifest_digest
from privacy.secure_aggregation.masking import Unsigned, dtype_of
from privacy.secure_aggregation.server_state import ServerState, Stage
from privacy.secure_aggregation.statements import (
    check_advertisement,
    check_distinct,
    check_enough,
    check_sender,
    check_shares,
    check_unmasking,
    check_vouch,
    sharers_digest,
)
from protocol.errors import AggregationError
from protocol.secure_aggregation import Advertisement, EncryptedShares, Manifest, Unmasking, Vouch, Where

Message = TypeVar("Message")
Refusals = dict[str, str]
"""Silo to why its message was not used."""


def begin(manifest: Manifest, where: Where) -> ServerState:
    """The state before anybody answered. Raises AggregationError for an unsound manifest or another job's."""
    check_sound(manifest)
    if where.job != manifest.job:
        raise AggregationError(f"the manifest is of job {manifest.job}, not of {where.job}.")
    return ServerState(Stage.ADVERTISEMENTS, manifest, manifest_digest(manifest), where)


def gather_advertisements(
    state: ServerState, replies: Mapping[str, Advertisement]
) -> tuple[ServerState, tuple[Advertisement, ...], Refusals]:
    """P1: what to show every silo that advertised (`state.silos`)."""
    state.expect(Stage.ADVERTISEMENTS)
    kept: list[Advertisement] = []

    def check(silo: str, reply: Advertisement) -> None:
        check_sender(silo, reply.silo)
        check_advertisement(reply, state.manifest, state.manifest_digest, state.where)
        check_distinct([*kept, reply])
        kept.append(reply)

    _, refusals = _sieve(state, replies, check)
    check_enough(len(kept), state.manifest, "silos advertised")
    return replace(state, stage=Stage.SHARES, advertisements=tuple(kept)), tuple(kept), refusals


def gather_shares(state: ServerState, replies: Mapping[str, tuple[EncryptedShares, ...]]) -> tuple[ServerState, Refusals]:
    """P2: keep what was sealed; `incoming` says what each of `state.silos` gets."""
    state.expect(Stage.SHARES)

    def check(silo: str, reply: tuple[EncryptedShares, ...]) -> None:
        check_shares(silo, reply, state.silos, state.manifest_digest, state.where)

    kept, refusals = _sieve(state, replies, check)
    check_enough(len(kept), state.manifest, "silos shared")
    boxes = tuple(box for reply in kept.values() for box in reply if box.receiver in kept)
    sharers = tuple(advertisement for advertisement in state.advertisements if advertisement.silo in kept)
    return replace(state, stage=Stage.VECTORS, advertisements=sharers, boxes=boxes), refusals


def incoming(state: ServerState, silo: str) -> tuple[EncryptedShares, ...]:
    """What the sharers sealed for `silo`."""
    return tuple(box for box in state.boxes if box.receiver == silo)


def new_total(manifest: Manifest) -> Unsigned:
    """The sum of no vectors, shape (size,)."""
    return np.zeros(manifest.size, dtype=dtype_of(manifest.width_bits))


def add(state: ServerState, total: Unsigned, silo: str, masked: Unsigned) -> ServerState:
    """P3: add one silo's masked vector to the total, in place. Raises AggregationError and adds nothing if it does not fit."""
    state.expect(Stage.VECTORS)
    if silo not in state.silos or silo in state.uploaded:
        raise AggregationError(f"the masked vector of {silo} was refused: it did not share, or has sent one before.")
    if masked.shape != total.shape or masked.dtype != total.dtype:
        raise AggregationError(f"the masked vector of {silo} was refused: {masked.dtype} {masked.shape} is not the manifest's.")
    np.add(total, masked, out=total)
    return replace(state, uploaded=(*state.uploaded, silo))


def close(state: ServerState) -> tuple[ServerState, tuple[str, ...]]:
    """End of P3: nobody is added any more. The survivors, whom each of them must vouch for."""
    state.expect(Stage.VECTORS)
    check_enough(len(state.uploaded), state.manifest, "masked vectors arrived")
    survivors = tuple(silo for silo in state.silos if silo in state.uploaded)
    return replace(state, stage=Stage.VOUCHES, uploaded=survivors, boxes=()), survivors


def gather_vouches(state: ServerState, replies: Mapping[str, Vouch]) -> tuple[ServerState, tuple[Vouch, ...], Refusals]:
    """P4: what to show the survivors so that they reveal their shares."""
    state.expect(Stage.VOUCHES)
    sharers = sharers_digest(state.advertisements)

    def check(silo: str, reply: Vouch) -> None:
        check_sender(silo, reply.silo)
        check_vouch(reply, state.manifest, state.manifest_digest, state.where, sharers, state.uploaded)

    kept, refusals = _sieve(state, replies, check)
    check_enough(len(kept), state.manifest, "silos vouched")
    return replace(state, stage=Stage.UNMASKINGS), tuple(kept.values()), refusals


def gather_unmaskings(state: ServerState, replies: Mapping[str, Unmasking]) -> tuple[ServerState, Refusals]:
    """P5: t silos are enough here. Then `unmasking.open_sum` gives the sum; save the state first if a kill must not lose it."""
    state.expect(Stage.UNMASKINGS)
    dropouts = [advertisement.silo for advertisement in state.advertisements if advertisement.silo not in state.uploaded]

    def check(silo: str, reply: Unmasking) -> None:
        check_sender(silo, reply.silo)
        check_unmasking(reply, state.manifest_digest, state.where, state.uploaded, dropouts)

    kept, refusals = _sieve(state, replies, check)
    if len(kept) < state.manifest.threshold:
        raise AggregationError(
            f"{len(kept)} silos sent their shares, {state.manifest.threshold} are needed; the sum stays masked."
        )
    return replace(state, stage=Stage.COMPLETE, unmaskings=tuple(kept.values())), refusals


def _sieve(
    state: ServerState, replies: Mapping[str, Message], check: Callable[[str, Message], Any]
) -> tuple[dict[str, Message], Refusals]:
    """The replies that pass, in the order of the roster, and why the others do not."""
    kept: dict[str, Message] = {}
    refusals = {silo: f"{silo} has no part in this phase." for silo in replies.keys() - set(state.silos)}
    for silo in state.silos:
        if silo in replies:
            try:
                check(silo, replies[silo])
                kept[silo] = replies[silo]
            except AggregationError as error:
                refusals[silo] = str(error)
    return kept, refusals
