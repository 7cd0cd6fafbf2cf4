"""One exception tree, by audience. Every message says what happened and what to do next.

FedwardError
├── InputError                 a person wrote something we cannot use (exit code 2)
│   ├── PlanError              the plan: which key, which line, what is allowed
│   ├── LabelsError            the hospital's labels CSV
│   ├── WeightsError           a file of public weights
│   ├── ConsortiumError        a consortium, request or kit that cannot be used as asked
│   └── SourceError            the folder of images to import
├── StoreError                 the hospital's cohort store (exit code 3)
│   ├── StoreExistsError       refuse to overwrite
│   ├── StoreVersionError      written by another version of the format
│   └── StoreCorruptError      a file is missing or its digest differs
├── SiloError                  a silo cannot do what it was asked (exit code 4)
│   ├── CohortError            the cohort does not fit the plan
│   ├── NetworkError           the plan's network cannot be built or used
│   │   └── CodeError          the plan's own module failed, took too long or tried what it may not
│   ├── TrainingError          training diverged or failed
│   ├── DeadlineError          the round's deadline passed before the silo was done
│   └── GateError              something tried to leave the hospital that may not
├── FederationError            the coordinator's job (exit code 5)
│   ├── QuorumError            too few usable updates: the round failed
│   ├── UpdateError            a silo's reply was refused, and why
│   ├── PoisonedError          round after round was rejected by the plan's guard
│   ├── JournalError           the durable state cannot be used
│   └── TransportError         a message could not be exchanged
├── MessageError               bytes that are not one of our messages (exit code 6)
├── EvidenceError              evidence that was forged or changed, or is not whole (exit code 3)
├── EvaluationError            numbers from which no honest figure follows (exit code 7)
└── PrivacyError               a privacy promise that could not be kept, so nothing was done (exit code 8)
    ├── BudgetError            the release would spend more than the hospital allows
    ├── AggregationError       a secure aggregation could not be finished; nothing was revealed
    ├── IdentityError          a key file that cannot be used
    ├── TrustError             a request, roster or kit that was forged, changed or is older than what is known
    ├── PolicyError            the hospital's own policy file refuses the plan
    │   └── ApprovalError      its data officers have not approved the plan, or no longer do
    └── LedgerError            the ledger cannot be read, or was changed
        └── LedgerRolledBackError   an older copy of the ledger was put in its place
"""

from __future__ import annotations


class FedwardError(Exception):
    """Root of every error fedward raises on purpose. `exit_code` is what the command line returns for it."""

    exit_code = 1


class InputError(FedwardError):
    """A person wrote something we cannot use."""

    exit_code = 2


class PlanError(InputError):
    """The plan is not valid; the message names each key, its line and what is allowed."""


class LabelsError(InputError):
    """The labels CSV cannot be used as it is."""


class WeightsError(InputError):
    """A file of public weights is missing, is not what the plan names, or does not fit the network."""


class ConsortiumError(InputError):
    """What was asked of the consortium cannot be done: a name is taken, a file is missing, a server does not answer."""


class SourceError(InputError):
    """The folder to import cannot be read or holds nothing to import."""


class StoreError(FedwardError):
    """The hospital's cohort store cannot be used."""

    exit_code = 3


class StoreExistsError(StoreError):
    """A store is already there; fedward does not overwrite cohorts."""


class StoreVersionError(StoreError):
    """The store was written by a version of the format this release does not read."""


class StoreCorruptError(StoreError):
    """A file of the store is missing, truncated or its digest differs from the manifest."""


class SiloError(FedwardError):
    """A silo cannot do what it was asked to do."""

    exit_code = 4


class CohortError(SiloError):
    """The cohort does not fit the plan: no such label, an empty split, an unreadable image."""


class NetworkError(SiloError):
    """The plan's network cannot be built, or does not fit the images."""


class CodeError(NetworkError):
    """The plan's own module failed, took more time or memory than it has, or cannot be kept apart on this machine."""


class TrainingError(SiloError):
    """Local training failed: a loss or a weight that is not finite, for example."""


class DeadlineError(SiloError):
    """The round's deadline passed before the silo was done."""


class GateError(SiloError):
    """Something tried to leave the hospital that the gate does not know or does not allow."""


class FederationError(FedwardError):
    """The coordinator's job cannot go on."""

    exit_code = 5


class QuorumError(FederationError):
    """Fewer usable updates than the plan's quorum: the round failed, nothing was aggregated."""


class UpdateError(FederationError):
    """A silo's reply was refused: wrong job, wrong round, wrong shape, or not finite."""


class PoisonedError(FederationError):
    """More rounds in a row were rejected by federation.guard than the plan allows; the last good model is kept."""


class JournalError(FederationError):
    """The durable state of the job cannot be used: another plan, a missing model, a foreign version."""


class TransportError(FederationError):
    """A message could not be exchanged with a silo."""


class MessageError(FedwardError):
    """Bytes that do not decode to one of fedward's messages."""

    exit_code = 6


class EvidenceError(FedwardError):
    """What should prove something does not: it was forged, changed, left out, or belongs elsewhere."""

    exit_code = 3


class EvaluationError(FedwardError):
    """The numbers at hand do not allow an honest figure."""

    exit_code = 7


class PrivacyError(FedwardError):
    """A privacy promise could not be kept; nothing was done and nothing left."""

    exit_code = 8


class BudgetError(PrivacyError):
    """The release would spend more epsilon than the hospital allows on this cohort."""


class AggregationError(PrivacyError):
    """A secure aggregation could not be finished; nothing was revealed."""


class IdentityError(PrivacyError):
    """The file of a private key cannot be read, or others can read it too."""


class TrustError(PrivacyError):
    """A join request, roster or kit is not what it claims to be, or older than what is already known."""


class PolicyError(PrivacyError):
    """The hospital's own policy file does not allow this plan."""


class ApprovalError(PolicyError):
    """No valid approval by the data officers: pending, rejected, expired, withdrawn, or their decisions were changed."""


class LedgerError(PrivacyError):
    """The ledger of a cohort cannot be read, or its chain of hashes is broken."""


class LedgerRolledBackError(LedgerError):
    """The ledger lacks entries that it once had: an older copy was put in its place."""
