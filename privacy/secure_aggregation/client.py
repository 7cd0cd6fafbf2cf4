"""A silo in a secure aggregation: five pure steps, each from a state to the next state and a message.

Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning", CCS 2017, in the variant for an
active adversary. Every step raises AggregationError if anything is not as it should be; the state is then as it was and
nothing was revealed. Save the new state before the message leaves (see `client_state`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from privacy.secure_aggregation.boxes import open_shares, seal_shares
from privacy.secure_aggregation.client_state import ClientState, Held, Phase
from privacy.secure_aggregation.keys import Context, new_private_key, public_of
from privacy.secure_aggregation.manifest import check_sound, manifest_digest
from privacy.secure_aggregation.masking import Unsigned, add_masks, dtype_of
from privacy.secure_aggregation.statements import (
    advertised,
    check_advertisement,
    check_distinct,
    check_enough,
    check_vouch,
    positions,
    sharers_digest,
    vouched,
)
from protocol.errors import AggregationError
from protocol.identity import Identity
from protocol.secure_aggregation import Advertisement, EncryptedShares, Manifest, Share, Unmasking, Vouch, Where


def advertise(
    manifest: Manifest, me: str, identity: Identity, where: Where, previous: ClientState | None = None
) -> tuple[ClientState, Advertisement]:
    """P1: draw two X25519 keys and a self-mask seed for this attempt, and sign what others may know of them.

    Call `check_manifest` first. `previous` is this silo's last state: an attempt of the job that is not later is refused.
    """
    check_sound(manifest)
    if {member.name: member.public_key for member in manifest.roster}.get(me) != identity.public_key:
        raise AggregationError(f"{me} is not in the roster with this silo's key; nothing was sent.")
    if where.job != manifest.job:
        raise AggregationError(f"the manifest is of job {manifest.job}, not of {where.job}; nothing was sent.")
    if previous is not None and previous.where.job == where.job and where <= previous.where:
        raise AggregationError(f"round {where.round}, attempt {where.attempt} is not later than the last; nothing was sent.")
    digest, seed, keys = manifest_digest(manifest), new_private_key(), (new_private_key(), new_private_key())
    public = (public_of(keys[0]), public_of(keys[1]), Context(where, digest).seed_digest(seed, me))
    signature = identity.sign(advertised(where, digest, me, *public))
    own = Advertisement(where, digest, me, *public, signature)
    return ClientState(Phase.ADVERTISED, manifest, digest, where, own, *keys, seed), own


def share(state: ClientState, advertisements: Sequence[Advertisement]) -> tuple[ClientState, tuple[EncryptedShares, ...]]:
    """P2: check everybody's advertisement, then share the seed and the mask key among them, t of n."""
    state.expect(Phase.ADVERTISED)
    for advertisement in advertisements:
        check_advertisement(advertisement, state.manifest, state.manifest_digest, state.where)
    check_distinct(advertisements)
    if state.advertisement not in advertisements:
        raise AggregationError(f"the advertisements hold none, or another one, of {state.silo}; nothing was shared.")
    check_enough(len(advertisements), state.manifest, "silos advertised")
    own, sealed = seal_shares(state, advertisements)
    return replace(state, phase=Phase.SHARED, peers=tuple(advertisements), held=(own,)), sealed


def mask(
    state: ClientState,
    incoming: Sequence[EncryptedShares],
    vector: Unsigned,
    out: Unsigned | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[ClientState, Unsigned]:
    """P3: open the shares of those who shared, and mask the vector against exactly these. Once an attempt, never again.

    `vector` has shape (size,) and the unsigned integers of the manifest's width; `out` may be `vector` itself and takes the
    result, else that is a new array. `progress` is called with numbers of values done.
    """
    state.expect(Phase.SHARED)
    if vector.shape != (state.manifest.size,) or vector.dtype != dtype_of(state.manifest.width_bits):
        raise AggregationError(
            f"{vector.dtype} of shape {vector.shape} is not the manifest's {state.manifest.size} unsigned integers of "
            f"{state.manifest.width_bits} bits; nothing was sent."
        )
    held = open_shares(state, incoming)
    check_enough(len(held), state.manifest, "silos shared")
    names, context = {one.silo for one in held}, Context(state.where, state.manifest_digest)
    sharers = tuple(peer for peer in state.peers if peer.silo in names)
    others = [peer for peer in sharers if peer.silo != state.silo]
    plus, minus = context.pair_keys(state.mask_private, state.silo, others, positions(state.manifest))
    masked = add_masks(vector, [context.self_key(state.seed, state.silo), *plus], minus, out, progress)
    erased = {"mask_private": b"", "share_private": b"", "seed": b""}
    done = replace(state, phase=Phase.MASKED, peers=sharers, held=held, sharers=sharers_digest(sharers), **erased)
    return done, masked


def vouch(state: ClientState, identity: Identity, survivors: Sequence[str]) -> tuple[ClientState, Vouch]:
    """P4: sign the survivors the aggregator shows, and erase every share that they make unneeded.

    Asked again for the same survivors it answers the same; another survivor set in the attempt is refused for good.
    """
    again = state.phase in (Phase.VOUCHED, Phase.UNMASKED)  # an aggregator that was killed asks once more
    if not again:
        state.expect(Phase.MASKED)
    names, sharers = tuple(sorted(survivors)), {peer.silo for peer in state.peers}
    if again and names != state.survivors:
        raise AggregationError(
            f"{state.silo} has vouched for other survivors of this attempt; two sets would open a single update."
        )
    if len(set(names)) < len(names) or not set(names) <= sharers or state.silo not in names:
        raise AggregationError(
            f"the survivors {', '.join(names)} do not fit: {state.silo} must be one, none twice, all sharers."
        )
    check_enough(len(names), state.manifest, "silos survived")
    if identity.public_key != {member.name: member.public_key for member in state.manifest.roster}[state.silo]:
        raise AggregationError(f"this is not the identity of {state.silo} in the roster.")
    statement = vouched(state.where, state.manifest_digest, state.silo, state.sharers, names)
    signed = Vouch(state.where, state.manifest_digest, state.silo, state.sharers, names, identity.sign(statement))
    if again:
        return state, signed
    held = tuple(Held(one.silo, seed=one.seed) if one.silo in names else Held(one.silo, key=one.key) for one in state.held)
    return replace(state, phase=Phase.VOUCHED, held=held, survivors=names), signed


def unmask(state: ClientState, vouches: Sequence[Vouch]) -> tuple[ClientState, Unmasking]:
    """P5: once max(t, U) survivors vouch for the same survivors, give the shares that open their sum and nothing else.

    Of a survivor that is the share of its seed, of another sharer that of its mask key. Then everything held is erased; asked
    again with sound vouches it answers the same.
    """
    if state.phase is not Phase.UNMASKED:
        state.expect(Phase.VOUCHED)
    for one in vouches:
        check_vouch(one, state.manifest, state.manifest_digest, state.where, state.sharers, state.survivors)
    if len({one.silo for one in vouches}) < len(vouches):
        raise AggregationError("a silo vouches twice; nothing was revealed.")
    check_enough(len(vouches), state.manifest, "silos vouched")
    if state.revealed is not None:
        return state, state.revealed
    seeds = tuple(Share(one.silo, one.seed) for one in state.held if one.silo in state.survivors)
    keys = tuple(Share(one.silo, one.key) for one in state.held if one.silo not in state.survivors)
    revealed = Unmasking(state.where, state.manifest_digest, state.silo, seeds, keys)
    return replace(state, phase=Phase.UNMASKED, held=(), revealed=revealed), revealed
