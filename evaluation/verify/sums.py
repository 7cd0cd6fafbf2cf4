"""Open a sum of counts again, from what each silo sent: the auditor is the server of the secure aggregation once more."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from evaluation.verify.opened import Opened
from privacy.secure_aggregation import server
from privacy.secure_aggregation.masking import dtype_of
from privacy.secure_aggregation.server_state import ServerState, Stage
from privacy.secure_aggregation.unmasking import open_sum
from protocol.errors import EvidenceError
from protocol.evidence.bundle import SumEvidence, sum_name, sum_path
from protocol.evidence.dsse import parse
from protocol.messages import Advertised, MaskedScores, Release, Revealed, Vouched

R = TypeVar("R", Advertised, MaskedScores, Vouched, Revealed)


def reopened(opened: Opened, purpose: str, number: int) -> tuple[NDArray[np.signedinteger[Any]], tuple[str, ...], SumEvidence]:
    """The exact sum (size,), who is in it, and its evidence. Raises EvidenceError, AggregationError.

    Every masked vector is one that its silo signed a receipt of; keys, survivors and shares are what the silos signed too.
    """
    name = sum_name(purpose, number)
    evidence = parse(opened.file(sum_path(name)), SumEvidence)
    where, manifest = evidence.where, evidence.manifest
    if (where.job, where.round, where.purpose) != (opened.checkpoint.job, number, purpose):
        raise EvidenceError(f"the evidence of the sum {name} is of another sum.")
    if manifest.plan_digest != opened.checkpoint.plan_digest or [(m.name, m.public_key.hex()) for m in manifest.roster] != [
        (site.name, site.public_key) for site in opened.checkpoint.roster
    ]:
        raise EvidenceError(f"the sum {name} was made under another plan, or among other silos, than the checkpoint.")
    if manifest.parameters.get("purpose") != purpose:
        raise EvidenceError(f"the manifest of the sum {name} is for {manifest.parameters.get('purpose')!r}.")

    def of(kind: type[R], commitments: dict[str, str]) -> dict[str, R]:
        return {site: _released(opened, kind, site, one, evidence) for site, one in commitments.items()}

    state = server.begin(manifest, where)
    shown = {site: one.advertisement for site, one in of(Advertised, evidence.advertised).items()}
    state, _, refused = server.gather_advertisements(state, shown)
    _none(refused)
    state = _shared(state, evidence.sharers)
    total = server.new_total(manifest)
    for site, one in of(MaskedScores, evidence.masked).items():
        state = server.add(state, total, site, np.frombuffer(one.masked, dtype=dtype_of(manifest.width_bits)))
    state, survivors = server.close(state)
    state, _, refused = server.gather_vouches(state, {s: one.vouch for s, one in of(Vouched, evidence.vouched).items()})
    _none(refused)
    shares = {site: one.unmasking for site, one in of(Revealed, evidence.revealed).items()}
    state, refused = server.gather_unmaskings(state, shares)
    _none(refused)
    return open_sum(state, total), survivors, evidence


def _released(opened: Opened, kind: type[R], site: str, commitment: str, evidence: SumEvidence) -> R:
    release: Release = opened.release(site, commitment)
    receipt, where = opened.receipt(site, commitment), evidence.where
    if not isinstance(release, kind) or receipt.place != (where.round, where.attempt, where.purpose):
        raise EvidenceError(f"a release of {site} in the sum {sum_name(where.purpose, where.round)} belongs elsewhere.")
    return release


def _shared(state: ServerState, sharers: tuple[str, ...]) -> ServerState:
    """The state once shares were exchanged: what they are is not needed, who shared is in every vouch."""
    kept = tuple(one for one in state.advertisements if one.silo in sharers)
    if len(kept) != len(set(sharers)):
        raise EvidenceError("a silo shared that advertised no keys.")
    return replace(state, stage=Stage.VECTORS, advertisements=kept)


def _none(refused: dict[str, str]) -> None:
    for reason in refused.values():
        raise EvidenceError(reason)
