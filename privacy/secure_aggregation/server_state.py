"""What the aggregator remembers between two phases. It holds no secret of a silo until silos chose to reveal one.

The running total of masked vectors is kept beside it by the caller; save both together, or a vector counts that is not in it.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import Struct

from protocol.errors import AggregationError
from protocol.secure_aggregation import Advertisement, EncryptedShares, Manifest, Unmasking, Where


class Stage(StrEnum):
    """What the aggregator waits for."""

    ADVERTISEMENTS = "advertisements"
    SHARES = "shares"
    VECTORS = "masked vectors"
    VOUCHES = "vouches"
    UNMASKINGS = "unmaskings"
    COMPLETE = "nothing: the sum can be opened"


class ServerState(Struct, frozen=True, forbid_unknown_fields=True):
    """One attempt, as the aggregator sees it."""

    stage: Stage
    manifest: Manifest
    manifest_digest: str
    where: Where
    advertisements: tuple[Advertisement, ...] = ()
    """Of all who advertised; from stage VECTORS on: of those who shared."""
    boxes: tuple[EncryptedShares, ...] = ()
    """What the sharers sealed for each other; dropped when the vectors are in."""
    uploaded: tuple[str, ...] = ()
    """Whose vectors are in the total; from stage VOUCHES on: the survivors."""
    unmaskings: tuple[Unmasking, ...] = ()

    def expect(self, stage: Stage) -> None:
        """Raises AggregationError if the aggregator waits for something else."""
        if self.stage is not stage:
            raise AggregationError(f"the aggregator waits for {self.stage} in this attempt, not for {stage}.")

    @property
    def silos(self) -> tuple[str, ...]:
        """Those who still can take part, in the order of the roster."""
        if self.stage in (Stage.VOUCHES, Stage.UNMASKINGS, Stage.COMPLETE):
            return self.uploaded
        if self.stage is Stage.ADVERTISEMENTS:
            return tuple(member.name for member in self.manifest.roster)
        return tuple(advertisement.silo for advertisement in self.advertisements)

    def to_bytes(self) -> bytes:
        """MessagePack."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> ServerState:
        """Inverse of `to_bytes`. Raises AggregationError for anything else."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except (msgspec.DecodeError, ValueError) as error:
            raise AggregationError(
                f"the saved state of a secure aggregation is damaged: {error}. Start another attempt."
            ) from error
