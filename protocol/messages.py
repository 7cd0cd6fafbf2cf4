"""Every message a silo and the aggregator exchange: one frozen struct each, and the only codec that reads them.

Requests travel down to a silo, releases travel up. The codec (MessagePack through msgspec) accepts these types and nothing
else: unknown tags, unknown or missing fields and wrong types are refused. Vectors travel as raw little-endian float32.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from protocol.errors import MessageError
from protocol.secure_aggregation import Advertisement, EncryptedShares, Manifest, Unmasking, Vouch

Count = Annotated[int, Meta(ge=0)]
Round = Annotated[int, Meta(ge=0)]  # 0 stands for "before the first round"

# ---------------------------------------------------------------------------------------------------------------- requests


class Address(Struct, frozen=True, forbid_unknown_fields=True):
    """What binds a message to its place: a reply is used only if its address equals the request's."""

    job: str
    plan_digest: str
    round: Round
    attempt: Count


class Receipt(Struct, frozen=True, forbid_unknown_fields=True):
    """What a cohort's ledger held when something left: `entries` charges, the last with digest `head`; signed by the silo.

    `signature` is Ed25519 by `public_key` over the canonical JSON of the other fields. No field says anything of a patient.
    """

    cohort: str
    entries: Count
    head: str
    public_key: bytes
    signature: bytes


class Describe(Struct, frozen=True, forbid_unknown_fields=True, tag="describe"):
    """Introduce the plan (canonical JSON); the silo answers with a Description, or a PrivateDescription if the plan is private.

    `receipts`: the newest of each silo that the aggregator holds for this job. A silo finds its own and sees from it whether
    an older copy of its ledger was put in the ledger's place.
    """

    address: Address
    plan: bytes
    receipts: tuple[Receipt, ...] = ()


class Train(Struct, frozen=True, forbid_unknown_fields=True, tag="train"):
    """Train locally from the global vector for at most `deadline_s` seconds; answered by an Update."""

    address: Address
    deadline_s: float
    model: memoryview


class TrainAlone(Struct, frozen=True, forbid_unknown_fields=True, tag="train-alone"):
    """Train the local-only baseline; the model never leaves the hospital. Answered by Done."""

    address: Address
    deadline_s: float


class Personalise(Struct, frozen=True, forbid_unknown_fields=True, tag="personalise"):
    """Fine-tune the final model on the local cohort; the result never leaves the hospital. Answered by Done."""

    address: Address
    deadline_s: float
    model: memoryview


class Score(Struct, frozen=True, forbid_unknown_fields=True, tag="score"):
    """Score one model on one split of the cohort; answered by Scores.

    `kind`: `federated` (the given vector with this site's personal parts), `alone`, `personalised` (both kept by the silo).
    `with_alone`: also say how the AUROC moves together with that of the site's own `alone` model, for a paired comparison.
    """

    address: Address
    kind: str
    split: str
    model: memoryview | None = None
    with_alone: bool = False


class Advertise(Struct, frozen=True, forbid_unknown_fields=True, tag="secure-advertise"):
    """Secure aggregation, first phase: here is the manifest; answered by Advertised."""

    address: Address
    manifest: Manifest


class ShareSecrets(Struct, frozen=True, forbid_unknown_fields=True, tag="secure-share"):
    """Second phase: everybody's keys; answered by Shared."""

    address: Address
    advertisements: tuple[Advertisement, ...]


class TrainMasked(Struct, frozen=True, forbid_unknown_fields=True, tag="train-masked"):
    """Third phase: train as for Train, and mask the update against those whose shares are in `boxes`; MaskedUpdate."""

    address: Address
    deadline_s: float
    model: memoryview
    boxes: tuple[EncryptedShares, ...]


class AskVouch(Struct, frozen=True, forbid_unknown_fields=True, tag="secure-vouch"):
    """Fourth phase: whose masked updates arrived; answered by Vouched."""

    address: Address
    survivors: tuple[str, ...]


class Reveal(Struct, frozen=True, forbid_unknown_fields=True, tag="secure-reveal"):
    """Fifth phase: the survivors' signed word; answered by Revealed."""

    address: Address
    vouches: tuple[Vouch, ...]


Request = Describe | Train | TrainAlone | Personalise | Score | Advertise | ShareSecrets | TrainMasked | AskVouch | Reveal

# ---------------------------------------------------------------------------------------------------------------- releases


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
    """What one round of local training changed: `delta` = local - global, raw float32, and how much it may weigh."""

    address: Address
    delta: memoryview
    n_train: Count
    n_positives: Count
    loss: float
    proximal: float
    steps: Count
    seconds: float


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


class MaskedUpdate(Struct, frozen=True, forbid_unknown_fields=True, tag="masked-update"):
    """An update as integers that look random alone (little-endian, of the manifest's width); a weight is inside it."""

    address: Address
    masked: memoryview
    receipt: Receipt | None


class Vouched(Struct, frozen=True, forbid_unknown_fields=True, tag="secure-vouched"):
    """A silo's signed word on who is in the sum."""

    address: Address
    vouch: Vouch


class Revealed(Struct, frozen=True, forbid_unknown_fields=True, tag="secure-revealed"):
    """The shares that open the sum."""

    address: Address
    unmasking: Unmasking


class ClassScores(Struct, frozen=True, forbid_unknown_fields=True):
    """How well one class is told from the rest at one site.

    `auroc` and its DeLong variance, by patient, come from the rows inside the hospital; they are None where a class is absent
    or all its images are of one patient.
    `histogram_*` count the scores (log-odds of the class) in the bins of `evaluation.histograms.EDGES`.
    `covariance_with_alone` is DeLong's covariance of this AUROC with that of the site's `alone` model on the same rows; None
    where it was not asked for, there is no such model, or a class is absent.
    """

    n_positive: Count
    n_negative: Count
    auroc: float | None
    auroc_variance: float | None
    histogram_positive: tuple[Count, ...]
    histogram_negative: tuple[Count, ...]
    covariance_with_alone: float | None = None


class Scores(Struct, frozen=True, forbid_unknown_fields=True, tag="scores"):
    """How one model scored on one split: one ClassScores for a binary task, one per class otherwise."""

    address: Address
    kind: str
    split: str
    n: Count
    loss: float
    accuracy: float
    classes: tuple[ClassScores, ...]


class NoisyHistograms(Struct, frozen=True, forbid_unknown_fields=True):
    """Scores of one class against the rest, counted in the bins of `evaluation.noisy_histograms.EDGES`, then noised.

    Each patient has one vote: one image, drawn at random. Noise is discrete Laplace on every bin, so counts may be negative.
    """

    positive: tuple[int, ...]
    negative: tuple[int, ...]


class PrivateScores(Struct, frozen=True, forbid_unknown_fields=True, tag="private-scores"):
    """How one model scored on one split under a private plan: noised histograms, one pair for a binary task.

    `epsilon` is what the release cost each patient of that split, `scale` that of the noise on each bin.
    """

    address: Address
    kind: str
    split: str
    epsilon: float
    scale: float
    classes: tuple[NoisyHistograms, ...]
    receipt: Receipt


class Done(Struct, frozen=True, forbid_unknown_fields=True, tag="done"):
    """The silo did what was asked and keeps the result."""

    address: Address
    seconds: float


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
    | MaskedUpdate
    | Vouched
    | Revealed
    | Scores
    | PrivateScores
    | Done
    | Refusal
)

# ------------------------------------------------------------------------------------------------------------------- codec

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_releases: msgspec.msgpack.Decoder[Release] = msgspec.msgpack.Decoder(Release)


def encode(message: Request | Release) -> bytes:
    """One message as MessagePack bytes."""
    return _encoder.encode(message)


def decode_request(data: bytes) -> Request:
    """Bytes a silo received; vectors are views into `data`, not copies. Raises MessageError."""
    try:
        return _requests.decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise MessageError(f"not a request fedward knows: {error}. Run the same release on both sides.") from error


def decode_release(data: bytes) -> Release:
    """Bytes the aggregator received; vectors are views into `data`, not copies. Raises MessageError."""
    try:
        return _releases.decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise MessageError(f"not a release fedward knows: {error}. Run the same release on both sides.") from error
