"""Sealing a silo's shares for its peers, and opening what the peers sealed for it."""

from __future__ import annotations

from collections.abc import Sequence

from privacy.secure_aggregation.client_state import ClientState, Held
from privacy.secure_aggregation.keys import Context, loaded
from privacy.secure_aggregation.shamir import SHARE_BYTES, split
from privacy.secure_aggregation.statements import check_place, positions
from protocol.errors import AggregationError
from protocol.secure_aggregation import Advertisement, EncryptedShares


def seal_shares(state: ClientState, peers: Sequence[Advertisement]) -> tuple[Held, tuple[EncryptedShares, ...]]:
    """Fresh shares of the silo's seed and mask key, t of n: those it keeps, and a box for each of the other `peers`."""
    place, context = positions(state.manifest), Context(state.where, state.manifest_digest)
    points = [place[peer.silo] for peer in peers]
    seeds = split(state.seed, state.manifest.threshold, points)
    keys = split(state.mask_private, state.manifest.threshold, points)
    boxes, private = [], loaded(state.share_private)
    for peer in peers:
        if peer.silo != state.silo:
            plain = seeds[place[peer.silo]] + keys[place[peer.silo]]
            sealed = context.seal(private, peer.share_key, state.silo, peer.silo, plain)
            boxes.append(EncryptedShares(state.where, state.manifest_digest, state.silo, peer.silo, sealed))
    own = place[state.silo]
    return Held(state.silo, seeds[own], keys[own]), tuple(boxes)


def open_shares(state: ClientState, boxes: Sequence[EncryptedShares]) -> tuple[Held, ...]:
    """What this silo holds of each sharer, its own first. Raises AggregationError if one box is not as it should be."""
    peers, context = {peer.silo: peer for peer in state.peers}, Context(state.where, state.manifest_digest)
    held, private = {one.silo: one for one in state.held}, loaded(state.share_private)
    for box in boxes:
        check_place(box.where, box.manifest, state.where, state.manifest_digest, f"a share of {box.sender}")
        if box.receiver != state.silo or box.sender not in peers or box.sender in held:
            raise AggregationError(
                f"a share of {box.sender} for {box.receiver} is not for {state.silo}, unknown, or here twice."
            )
        plain = context.open(private, peers[box.sender].share_key, box.sender, state.silo, box.sealed)
        if len(plain) != 2 * SHARE_BYTES:
            raise AggregationError(f"the shares from {box.sender} have {len(plain)} bytes, not {2 * SHARE_BYTES}.")
        held[box.sender] = Held(box.sender, plain[:SHARE_BYTES], plain[SHARE_BYTES:])
    return tuple(held.values())
