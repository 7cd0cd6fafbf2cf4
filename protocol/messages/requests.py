"""What the aggregator asks of a silo."""

from __future__ import annotations

from msgspec import Struct

from protocol.messages.address import Address, Edges, Receipt, Word
from protocol.messages.evidence import AskReceipts, Cosign
from protocol.secure_aggregation import Advertisement, EncryptedShares, Manifest, Vouch


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
    """Score one model on one split of the cohort; answered by Scores. Refused under a plan whose scores leave only in sums.

    `kind`: `federated` (the given vector with this site's personal parts), `recalibrated` (that, with probabilities mapped as
    this site's validation patients say), `alone`, `personalised` (both kept by the silo).
    `with_alone`: also say how the AUROC moves together with that of the site's own `alone` model, for a paired comparison.
    """

    address: Address
    kind: Word
    split: Word
    model: memoryview | None = None
    with_alone: bool = False


class Audit(Struct, frozen=True, forbid_unknown_fields=True, tag="audit"):
    """Count the test patients' scores under the final model by group, in the bins between `edges`; answered by AuditCounts.

    Refused under secure aggregation, where only AuditMasked is answered.
    """

    address: Address
    model: memoryview
    edges: Edges


class Advertise(Struct, frozen=True, forbid_unknown_fields=True, tag="secure-advertise"):
    """Secure aggregation, first phase: here is the manifest; answered by Advertised."""

    address: Address
    manifest: Manifest


class ShareSecrets(Struct, frozen=True, forbid_unknown_fields=True, tag="secure-share"):
    """Second phase: everybody's keys; answered by Shared."""

    address: Address
    advertisements: tuple[Advertisement, ...]


class Deliver(Struct, frozen=True, forbid_unknown_fields=True, tag="secure-deliver"):
    """What the others sealed for this silo in the second phase; answered by Delivered.

    Apart from the model, which is then the same message for all: it is encoded, sent and kept once.
    """

    address: Address
    boxes: tuple[EncryptedShares, ...]


class TrainMasked(Struct, frozen=True, forbid_unknown_fields=True, tag="train-masked"):
    """Third phase: train as for Train, and mask the update against those whose shares were delivered; MaskedUpdate."""

    address: Address
    deadline_s: float
    model: memoryview


class ScoreMasked(Struct, frozen=True, forbid_unknown_fields=True, tag="score-masked"):
    """Third phase of a scoring: score the kind of model and the part that the address names, and mask the counts.

    Answered by MaskedScores.
    """

    address: Address
    model: memoryview | None = None


class AuditMasked(Struct, frozen=True, forbid_unknown_fields=True, tag="audit-masked"):
    """Third phase of an audit: count as for Audit, with the edges of which the manifest holds the digest, and mask the counts.

    Answered by MaskedScores.
    """

    address: Address
    model: memoryview
    edges: Edges


class AskVouch(Struct, frozen=True, forbid_unknown_fields=True, tag="secure-vouch"):
    """Fourth phase: whose masked vectors arrived; answered by Vouched."""

    address: Address
    survivors: tuple[str, ...]


class Reveal(Struct, frozen=True, forbid_unknown_fields=True, tag="secure-reveal"):
    """Fifth phase: the survivors' signed word; answered by Revealed."""

    address: Address
    vouches: tuple[Vouch, ...]


Request = (
    Describe
    | Train
    | TrainAlone
    | Personalise
    | Score
    | Audit
    | Advertise
    | ShareSecrets
    | Deliver
    | TrainMasked
    | ScoreMasked
    | AuditMasked
    | AskVouch
    | Reveal
    | AskReceipts
    | Cosign
)
