"""What a silo remembers between two phases, so that it survives a kill.

A ClientState HOLDS SECRETS: keep it in a file that only the silo can read (mode 0600), never send or log it, and delete it
when the attempt is over. WRITE THE NEW STATE TO DISK BEFORE THE MESSAGE THAT CAME WITH IT LEAVES: a silo that restarts from
an older state could mask two vectors with the same masks, and then their difference is in the clear.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import Struct

from protocol.errors import AggregationError
from protocol.secure_aggregation import Advertisement, Manifest, Unmasking, Where


class Phase(StrEnum):
    """What the silo did last."""

    ADVERTISED = "advertised"
    SHARED = "shared"
    MASKED = "masked"
    VOUCHED = "vouched"
    UNMASKED = "unmasked"


class Held(Struct, frozen=True, forbid_unknown_fields=True):
    """Shares of a peer's secrets that this silo keeps; empty where erased, and at most one is left once it vouched."""

    silo: str
    seed: bytes = b""
    key: bytes = b""

    def __repr__(self) -> str:
        return f"Held({self.silo!r}, secret)"


class ClientState(Struct, frozen=True, forbid_unknown_fields=True):
    """One silo in one attempt. Holds secrets; each is erased (b"") in the phase in which it was last needed.

    Python cannot overwrite memory, so an erased secret may linger in the process until the memory is used again.
    """

    phase: Phase
    manifest: Manifest
    manifest_digest: str
    where: Where
    advertisement: Advertisement
    """The silo's own."""
    mask_private: bytes
    share_private: bytes
    seed: bytes
    peers: tuple[Advertisement, ...] = ()
    """Everybody's that was verified, its own included; from `mask` on: of those who shared."""
    held: tuple[Held, ...] = ()
    sharers: str = ""
    survivors: tuple[str, ...] = ()
    revealed: Unmasking | None = None

    @property
    def silo(self) -> str:
        """The silo's own name."""
        return self.advertisement.silo

    def expect(self, phase: Phase) -> None:
        """Raises AggregationError if the silo did something else last: every step is done once."""
        if self.phase is not phase:
            raise AggregationError(
                f"{self.silo} has {self.phase} in round {self.where.round}, attempt {self.where.attempt}, and must have "
                f"{phase} for this. A step is done once; start another attempt."
            )

    def __repr__(self) -> str:
        return f"ClientState({self.silo!r}, {self.where}, {self.phase}, secrets)"

    def to_bytes(self) -> bytes:
        """MessagePack, secrets in the clear."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> ClientState:
        """Inverse of `to_bytes`. Raises AggregationError for anything else."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except (msgspec.DecodeError, ValueError) as error:
            raise AggregationError(
                f"the saved state of a secure aggregation is damaged: {error}. Start another attempt."
            ) from error
