"""What the journal remembers of each round and phase: plain frozen records, stored as JSON."""

from __future__ import annotations

from msgspec import Struct

from evaluation.summed import AnySum
from protocol.messages import Description, Edges, PrivateDescription, PrivateScores, Receipt, Scores


class RoundRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """One round that was aggregated: who was configured, who trained, who was aggregated, and why others were not.

    `aggregated` are the silos whose updates entered the global model, `weights` what each weighed; under Krum the others
    trained and were not chosen. `bounded` holds the L2 norms of the updates that federation.norm_bound scaled down.

    `rejected` says why federation.guard did not let the outcome stand: then nobody is in `aggregated`, `weights` and
    `update_norm` are those of the rejected aggregate, and the model after the round is the last good one.

    Under a private plan `losses`, `proximals`, `steps` and `silo_seconds` are empty: they would say something of patients.
    `receipts` holds what each silo signed about its ledger; empty without one. `upload_bytes` is how long the vector of each
    update was as it travelled: compressed, or masked. `work` is the share of its local steps that each silo had time for.
    """

    round: int
    attempt: int
    started_at: float
    seconds: float
    configured: tuple[str, ...]
    trained: tuple[str, ...]
    aggregated: tuple[str, ...]
    failures: dict[str, str]
    weights: dict[str, float]
    losses: dict[str, float]
    proximals: dict[str, float]
    steps: dict[str, int]
    silo_seconds: dict[str, float]
    update_norm: float
    model_digest: str
    receipts: dict[str, Receipt] = {}
    bounded: dict[str, float] = {}
    rejected: str | None = None
    upload_bytes: dict[str, int] = {}
    work: dict[str, float] = {}


class VerdictRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """What the validation of `round` meant for federation.guard: `rejected` says why the rounds since `back_to` do not stand.

    `auroc` is the pooled AUROC it rests on; None: it could not be judged, stands, and is nothing to compare with.
    """

    round: int
    auroc: float | None = None
    rejected: str | None = None
    back_to: int | None = None


class ScoresRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """One model scored on one part at every silo that could; `kind` and `split` as in the Score message.

    Where the plan lets only sums leave, `scores` is empty: `summed` is the sum over the `survivors`, or `unsummed` says why
    there is none. `receipts` then holds what each silo signed about its ledger.
    """

    round: int
    kind: str
    split: str
    at: float
    scores: dict[str, Scores | PrivateScores]
    failures: dict[str, str]
    summed: AnySum | None = None
    survivors: tuple[str, ...] = ()
    unsummed: str | None = None
    receipts: dict[str, Receipt] = {}


class AuditRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """The final model's test broken down by group: `counts` (evaluation.audit.layout) summed over the hospitals `sites`.

    `edges` are, for each scored class, the inner edges of the bins that were counted in. Without a sum `counts`, `sites` and
    `receipts` are empty and `unsummed` says why. `receipts`: under a private plan, what each hospital signed about its ledger.
    """

    round: int
    at: float
    edges: Edges
    counts: tuple[int, ...]
    sites: tuple[str, ...]
    failures: dict[str, str]
    unsummed: str | None = None
    receipts: dict[str, Receipt] = {}


class RosterRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """Who is in the job: configured silos, what each said of its cohort, and why a silo could not."""

    configured: tuple[str, ...]
    descriptions: dict[str, Description | PrivateDescription]
    failures: dict[str, str]


class PhaseRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """A phase in which silos make something they keep: `alone` or `personalised`."""

    phase: str
    seconds: dict[str, float]
    failures: dict[str, str]
