"""A silo's side of secure aggregation: five phases, each saved to disk before its answer leaves.

The state holds secrets of one attempt (privacy.secure_aggregation.client_state); the file is readable by the silo only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from privacy.secure_aggregation import client
from privacy.secure_aggregation.agreement import rules_for
from privacy.secure_aggregation.boxes import open_shares
from privacy.secure_aggregation.client_state import ClientState, Phase
from privacy.secure_aggregation.manifest import check_manifest
from privacy.secure_aggregation.masking import Unsigned
from privacy.secure_aggregation.statements import check_enough, words
from protocol.errors import AggregationError, SiloError
from protocol.identity import Identity
from protocol.plan import Plan
from protocol.secure_aggregation import UPDATE, Advertisement, EncryptedShares, Manifest, Member, Unmasking, Vouch, Where

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[EncryptedShares, ...])


class SecurePart:
    """One silo in the secure aggregations of one job. `pinned` is the roster as this hospital knows it, not the aggregator.

    `sizes` says how many values a vector has for an update and for an audit, `counts` for any scoring; 0: nothing of the kind
    is summed in this plan. Each purpose has files of its own, so that the phases of one never meet those of another.
    """

    def __init__(
        self,
        plan: Plan,
        sizes: Mapping[str, int],
        counts: int,
        silo: str,
        identity: Identity,
        pinned: Sequence[Member],
        folder: Path,
    ) -> None:
        self._plan, self._sizes, self._counts, self._silo, self._identity = plan, dict(sizes), counts, silo, identity
        self._pinned, self._folder = tuple(pinned), folder

    def advertise(self, manifest: Manifest, where: Where) -> Advertisement:
        """P1. Raises AggregationError if the manifest is not this plan's among the pinned silos."""
        if not self._pinned:
            raise SiloError("this silo has pinned no other silos, so it cannot tell whom it aggregates with.")
        size = self._sizes.get(where.purpose, self._counts)
        if not size:
            raise SiloError("the scores of this plan are not summed (evaluation.scores); they are asked for by Score.")
        rules = rules_for(self._plan, where.purpose, size, len(self._pinned), manifest, where.job)
        check_manifest(manifest, self._pinned, self._silo, self._identity.public_key, rules)
        state, advertisement = client.advertise(manifest, self._silo, self._identity, where, self._load_any(where.purpose))
        self._save(state)
        return advertisement

    def share(self, where: Where, advertisements: Sequence[Advertisement]) -> tuple[EncryptedShares, ...]:
        """P2."""
        state, boxes = client.share(self._load(where), advertisements)
        self._save(state)
        return boxes

    def deliver(self, where: Where, boxes: Sequence[EncryptedShares]) -> None:
        """Keep what the others sealed for this silo until it masks; it is opened and checked then."""
        self._load(where)
        self._write(self._file(where.purpose, "boxes"), _encoder.encode(boxes))

    def ready(self, where: Where) -> Manifest:
        """What this attempt agreed on. Raises AggregationError, before anything is trained or paid for, if it cannot mask."""
        state = self._load(where)
        state.expect(Phase.SHARED)
        check_enough(len(open_shares(state, self._boxes(where))), state.manifest, "silos shared")
        return state.manifest

    def mask(self, where: Where, vector: Unsigned) -> Unsigned:
        """P3: `vector` (size,) masked in place against those whose shares were delivered; once an attempt."""
        state, masked = client.mask(self._load(where), self._boxes(where), vector, out=vector)
        self._save(state)
        return masked

    def _boxes(self, where: Where) -> tuple[EncryptedShares, ...]:
        path = self._file(where.purpose, "boxes")
        boxes = _decoder.decode(path.read_bytes()) if path.exists() else ()
        if not boxes or any(box.where != where for box in boxes):
            raise AggregationError(f"the others' shares in {words(where)} were never delivered; nothing was sent.")
        return boxes

    def vouch(self, where: Where, survivors: Sequence[str]) -> Vouch:
        """P4."""
        state, vouch = client.vouch(self._load(where), self._identity, survivors)
        self._save(state)
        return vouch

    def unmask(self, where: Where, vouches: Sequence[Vouch]) -> Unmasking:
        """P5. From then on no other attempt of the round and purpose gets this silo's vector (`refuse_if_opened`)."""
        state, unmasking = client.unmask(self._load(where), vouches)
        self._remember_opened(where)
        self._save(state)
        return unmasking

    def refuse_if_opened(self, where: Where) -> None:
        """Raises AggregationError if this silo helped to open another sum of this round for this purpose.

        The same vector in two sums over different silos would be told by their difference.
        """
        path = self._file(where.purpose, "opened")
        opened = path.read_text(encoding="ascii").split() if path.exists() else []
        attempts = {int(attempt) for number, attempt in (line.split("/") for line in opened) if int(number) == where.round}
        if attempts - {where.attempt}:
            what = "update" if where.purpose == UPDATE else "counts"
            raise AggregationError(
                f"round {where.round} was opened in another attempt; the same {what} {'is' if what == 'update' else 'are'} not "
                "put into a second sum. Resume the job where it stopped, or start a new one."
            )

    def _remember_opened(self, where: Where) -> None:
        with self._file(where.purpose, "opened").open("a", encoding="ascii") as file:
            file.write(f"{where.round}/{where.attempt}\n")
            file.flush()
            os.fsync(file.fileno())

    def _file(self, purpose: str, ending: str) -> Path:
        """A purpose is one of a fixed few (protocol.secure_aggregation.Purpose), so its name is safe in a file's."""
        name = "secure" if purpose == UPDATE else f"secure-{purpose.replace('/', '-')}"
        return self._folder / f"{name}.{ending}"

    def _load_any(self, purpose: str) -> ClientState | None:
        path = self._file(purpose, "state")
        return ClientState.from_bytes(path.read_bytes()) if path.exists() else None

    def _load(self, where: Where) -> ClientState:
        state = self._load_any(where.purpose)
        if state is None or state.where != where:
            raise AggregationError(f"this silo has no part in {words(where)}: it was restarted, or the message is old.")
        return state

    def _save(self, state: ClientState) -> None:
        self._write(self._file(state.where.purpose, "state"), state.to_bytes())

    def _write(self, path: Path, data: bytes) -> None:
        partial = path.with_suffix(".partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


def as_wire(masked: Unsigned) -> memoryview:
    """Little-endian bytes of a masked vector."""
    return np.ascontiguousarray(masked, dtype=masked.dtype.newbyteorder("<")).view(np.uint8).data
