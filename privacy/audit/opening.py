"""Whether secure aggregation opens what the audit assumes: the exact sum of no fewer hospitals than U, and no single upload.

The silos' and the aggregator's own steps (privacy.secure_aggregation) run once, with as many dropouts as there may be: every
hospital shares its keys, U of n upload.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from privacy.audit.finding import Finding, statistical, two_sided
from privacy.randomness import SecureBits
from privacy.secure_aggregation import client, server
from privacy.secure_aggregation.client_state import ClientState
from privacy.secure_aggregation.masking import Unsigned
from privacy.secure_aggregation.server_state import ServerState
from privacy.secure_aggregation.unmasking import open_sum
from protocol.errors import AggregationError
from protocol.identity import Identity
from protocol.secure_aggregation import Manifest, Member, Where

_SIZE = 1 << 15
_Silos = dict[str, ClientState]


def opening_findings(manifest: Manifest) -> list[Finding]:
    """What is seen of one secure aggregation under `manifest`, of U random vectors of which one is all zeros."""
    identities = {member.name: Identity(Ed25519PrivateKey.generate()) for member in manifest.roster}
    roster = tuple(Member(name, identity.public_key) for name, identity in identities.items())
    manifest = replace(manifest, roster=roster, size=_SIZE)
    vectors = {name: server.new_total(manifest) for name in list(identities)[: manifest.min_survivors]}
    bits = SecureBits()
    for vector in list(vectors.values())[1:]:  # the first stays zero
        bits.fill(vector)
    state, silos = _shared(manifest, identities)
    total, masked = server.new_total(manifest), {}
    for name, vector in vectors.items():
        silos[name], masked[name] = client.mask(silos[name], server.incoming(state, name), vector)
        state = server.add(state, total, name, masked[name])
    state, survivors = server.close(state)
    alone = masked[survivors[0]]
    few = _too_few(silos, identities, survivors)
    vouches = {}
    for name in survivors:
        silos[name], vouches[name] = client.vouch(silos[name], identities[name], survivors)
    state, vouched, _ = server.gather_vouches(state, vouches)
    state, _ = server.gather_unmaskings(state, {name: client.unmask(silos[name], vouched)[1] for name in survivors})
    opened = open_sum(state, total)
    return [_sum(opened.view(total.dtype), vectors), _hidden(alone), few]


def _shared(manifest: Manifest, identities: Mapping[str, Identity]) -> tuple[ServerState, _Silos]:
    """After phase 2: all hospitals advertised and shared their keys."""
    where, silos, advertised, sealed = Where(manifest.job, 1, 0), {}, {}, {}
    for name, identity in identities.items():
        silos[name], advertised[name] = client.advertise(manifest, name, identity, where)
    state, everybody, _ = server.gather_advertisements(server.begin(manifest, where), advertised)
    for name in identities:
        silos[name], sealed[name] = client.share(silos[name], everybody)
    state, _ = server.gather_shares(state, sealed)
    return state, silos


def _sum(opened: Unsigned, vectors: Mapping[str, Unsigned]) -> Finding:
    expected = np.zeros_like(opened)
    for vector in vectors.values():
        expected += vector
    wrong = int((opened != expected).sum())
    return Finding(
        "opening: sum",
        f"exactly that of {len(vectors)} hospitals",
        "exactly" if not wrong else f"{wrong} of {opened.size} values differ",
        not wrong,
        "what secure aggregation opens is not the sum of what the hospitals sent: masks are left in it, or a part is lost",
    )


def _hidden(masked: Unsigned) -> Finding:
    """Bytes of the masked vector of zeros: multinomial with equal chances if the masks are keystreams."""
    from scipy import stats

    counts = np.bincount(masked.view(np.uint8), minlength=256)
    expected = masked.nbytes / 256
    square = float(np.square(counts - expected).sum() / expected)
    p = two_sided(float(stats.chi2.cdf(square, 255)), float(stats.chi2.sf(square, 255)))
    suggests = "a single upload is not hidden by its masks: the aggregator sees a sum with one share of the noise"
    return statistical("opening: one upload", "uniform bytes, chi-square ratio 1", f"{square / 255:.3f}", p, suggests)


def _too_few(silos: _Silos, identities: Mapping[str, Identity], survivors: tuple[str, ...]) -> Finding:
    """An aggregator that claims one survivor fewer: the hospitals must not vouch for it."""
    vouched = 0
    for name in survivors[:-1]:
        try:
            client.vouch(silos[name], identities[name], survivors[:-1])
            vouched += 1
        except AggregationError:
            continue
    return Finding(
        "opening: too few",
        f"nobody vouches for {len(survivors) - 1} hospitals",
        "nobody" if not vouched else f"{vouched} do",
        not vouched,
        "a sum of fewer hospitals than the shares of noise were made for can be opened: a share is missing in it",
    )
