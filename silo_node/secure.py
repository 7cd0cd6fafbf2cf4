"""A silo's side of secure aggregation: five phases, each saved to disk before its answer leaves.

The state holds secrets of one attempt (privacy.secure_aggregation.client_state); the file is readable by the silo only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from privacy.secure_aggregation import client
from privacy.secure_aggregation.client_state import ClientState
from privacy.secure_aggregation.manifest import check_manifest
from privacy.secure_aggregation.masking import Unsigned
from privacy.secure_aggregation.sizing import rules_of
from protocol.errors import AggregationError, SiloError
from protocol.identity import Identity
from protocol.plan import Plan
from protocol.secure_aggregation import Advertisement, EncryptedShares, Manifest, Member, Unmasking, Vouch, Where


class SecurePart:
    """One silo in the secure aggregations of one job. `pinned` is the roster as this hospital knows it, not the aggregator."""

    def __init__(self, plan: Plan, size: int, silo: str, identity: Identity, pinned: Sequence[Member], folder: Path) -> None:
        self._plan, self._size, self._silo, self._identity, self._pinned = plan, size, silo, identity, tuple(pinned)
        self._path, self._opened = folder / "secure.state", folder / "secure.opened"

    def advertise(self, manifest: Manifest, where: Where) -> Advertisement:
        """P1. Raises AggregationError if the manifest is not this plan's among the pinned silos."""
        if not self._pinned:
            raise SiloError("this silo has pinned no other silos, so it cannot tell whom it aggregates with.")
        rules = rules_of(self._plan, where.job, self._size, len(self._pinned))
        check_manifest(manifest, self._pinned, self._silo, self._identity.public_key, rules)
        state, advertisement = client.advertise(manifest, self._silo, self._identity, where, self._load_any())
        self._save(state)
        return advertisement

    def share(self, where: Where, advertisements: Sequence[Advertisement]) -> tuple[EncryptedShares, ...]:
        """P2."""
        state, boxes = client.share(self._load(where), advertisements)
        self._save(state)
        return boxes

    def manifest(self, where: Where) -> Manifest:
        """What this attempt agreed on."""
        return self._load(where).manifest

    def mask(self, where: Where, boxes: Sequence[EncryptedShares], vector: Unsigned) -> Unsigned:
        """P3: `vector` (size,) masked in place; once an attempt."""
        state, masked = client.mask(self._load(where), boxes, vector, out=vector)
        self._save(state)
        return masked

    def vouch(self, where: Where, survivors: Sequence[str]) -> Vouch:
        """P4."""
        state, vouch = client.vouch(self._load(where), self._identity, survivors)
        self._save(state)
        return vouch

    def unmask(self, where: Where, vouches: Sequence[Vouch]) -> Unmasking:
        """P5. From then on no other attempt of the round gets this silo's update (`refuse_if_opened`)."""
        state, unmasking = client.unmask(self._load(where), vouches)
        self._remember_opened(where)
        self._save(state)
        return unmasking

    def refuse_if_opened(self, where: Where) -> None:
        """Raises AggregationError if this silo helped to open another sum of this round.

        The same update in two sums over different silos would be told by their difference.
        """
        opened = self._opened.read_text(encoding="ascii").split() if self._opened.exists() else []
        attempts = {int(attempt) for number, attempt in (line.split("/") for line in opened) if int(number) == where.round}
        if attempts - {where.attempt}:
            raise AggregationError(
                f"round {where.round} was opened in another attempt; the same update is not put into a second sum. Resume the "
                "job where it stopped, or start a new one."
            )

    def _remember_opened(self, where: Where) -> None:
        with self._opened.open("a", encoding="ascii") as file:
            file.write(f"{where.round}/{where.attempt}\n")
            file.flush()
            os.fsync(file.fileno())

    def _load_any(self) -> ClientState | None:
        return ClientState.from_bytes(self._path.read_bytes()) if self._path.exists() else None

    def _load(self, where: Where) -> ClientState:
        state = self._load_any()
        if state is None or state.where != where:
            raise AggregationError(
                f"this silo has no part in round {where.round}, attempt {where.attempt}: it was restarted, or the message is "
                "old."
            )
        return state

    def _save(self, state: ClientState) -> None:
        partial = self._path.with_suffix(".partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(state.to_bytes())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)


def as_wire(masked: Unsigned) -> memoryview:
    """Little-endian bytes of a masked vector."""
    return np.ascontiguousarray(masked, dtype=masked.dtype.newbyteorder("<")).view(np.uint8).data
