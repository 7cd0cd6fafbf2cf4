"""What may leave a hospital."""

from __future__ import annotations

from msgspec import Struct

from protocol.messages.address import Address, Count, Finite, Positive, Receipt, Share
from protocol.messages.evidence import Cosigned, Receipts
from protocol.messages.scores import PrivateScores, Scores
from protocol.secure_aggregation import Advertisement, EncryptedShares, Unmasking, Vouch


class Description(Struct, frozen=True, forbid_unknown_fields=True, tag="description"):
    """What a silo says of its cohort under the plan: counts, never rows."""

    address: Address
    n_patients: Count
    n_train: Count
    n_validation: Count
    n_test: Count
    class_counts_train: tuple[Count, ...]
    layout_digest: str
    store_digest: str
    modalities: tuple[str, ...]
    manufacturers: tuple[str, ...]


class PrivateDescription(Struct, frozen=True, forbid_unknown_fields=True, tag="private-description"):
    """What a silo says of its cohort under a private plan: nothing that depends on a patient.

    `cohort` is a random token of the cohort: the same for every version of it, or it would tell that a patient came or went.
    """

    address: Address
    layout_digest: str
    cohort: str


class Update(Struct, frozen=True, forbid_unknown_fields=True, tag="update"):
    """What one round of local training changed: `delta` = local - global, raw float32, and how much it may weigh.

    `work` is the share of the round's steps that there was time for (training.max_seconds); 1 for all of them. `weight` is what
    it weighs under federation.weighting q_ffl, in steps of 1 / weight_bound; 0 under any other.
    """

    address: Address
    delta: memoryview
    n_train: Count
    n_positives: Count
    loss: Finite
    proximal: Finite
    steps: Count
    seconds: Positive
    work: Share = 1.0
    weight: Count = 0


class PrivateUpdate(Struct, frozen=True, forbid_unknown_fields=True, tag="private-update"):
    """What one round of noised training changed: `delta` = local - global, raw float32, and nothing else."""

    address: Address
    delta: memoryview
    receipt: Receipt


class Advertised(Struct, frozen=True, forbid_unknown_fields=True, tag="secure-advertised"):
    """A silo's signed keys of one attempt."""

    address: Address
    advertisement: Advertisement


class Shared(Struct, frozen=True, forbid_unknown_fields=True, tag="secure-shared"):
    """Shares of a silo's secrets, each sealed for one other silo."""

    address: Address
    boxes: tuple[EncryptedShares, ...]


class Delivered(Struct, frozen=True, forbid_unknown_fields=True, tag="secure-delivered"):
    """The silo keeps what the others sealed for it."""

    address: Address


class MaskedUpdate(Struct, frozen=True, forbid_unknown_fields=True, tag="masked-update"):
    """An update as integers that look random alone (little-endian, of the manifest's width); a weight is inside it.

    `work` as in Update; None under a private plan.
    """

    address: Address
    masked: memoryview
    receipt: Receipt | None
    work: Share | None = None


class MaskedScores(Struct, frozen=True, forbid_unknown_fields=True, tag="masked-scores"):
    """Counts of scores, or of an audit, as integers of 32 bits that look random alone (little-endian); `receipt` if private."""

    address: Address
    masked: memoryview
    receipt: Receipt | None


class AuditCounts(Struct, frozen=True, forbid_unknown_fields=True, tag="audit-counts"):
    """A hospital's counts of test scores by group (evaluation.audit.layout), little-endian int64.

    Of the groups of single hospitals it holds the silo's own alone. Under a private plan counts are noised and may be negative,
    and `receipt` is there.
    """

    address: Address
    counts: memoryview
    receipt: Receipt | None


class Vouched(Struct, frozen=True, forbid_unknown_fields=True, tag="secure-vouched"):
    """A silo's signed word on who is in the sum."""

    address: Address
    vouch: Vouch


class Revealed(Struct, frozen=True, forbid_unknown_fields=True, tag="secure-revealed"):
    """The shares that open the sum."""

    address: Address
    unmasking: Unmasking


class Done(Struct, frozen=True, forbid_unknown_fields=True, tag="done"):
    """The silo did what was asked and keeps the result."""

    address: Address
    seconds: Positive


class Refusal(Struct, frozen=True, forbid_unknown_fields=True, tag="refusal"):
    """The silo did not do it: the name of the error and a reason that holds no patient data."""

    address: Address
    error: str
    reason: str


Release = (
    Description
    | PrivateDescription
    | Update
    | PrivateUpdate
    | Advertised
    | Shared
    | Delivered
    | MaskedUpdate
    | MaskedScores
    | Vouched
    | Revealed
    | Scores
    | PrivateScores
    | AuditCounts
    | Receipts
    | Cosigned
    | Done
    | Refusal
)
