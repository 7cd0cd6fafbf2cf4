"""The silo node: a request in, a gated release out. It answers every request, if only with a refusal, and survives a kill."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from protocol.canonical import digest_bytes
from protocol.errors import ApprovalError, FedwardError, SiloError
from protocol.identity import Identity
from protocol.messages import (
    Address,
    AskReceipts,
    Audit,
    Cosign,
    Describe,
    Done,
    Personalise,
    Refusal,
    Release,
    Request,
    Score,
    Train,
    TrainAlone,
    decode_request,
)
from protocol.plan import Plan, parse_canonical
from protocol.secure_aggregation import Member
from silo_node import audit_answers, private_answers, secure_answers
from silo_node.account import Account
from silo_node.answers import describe, personalise, score, train, train_alone
from silo_node.cohort import CohortStore
from silo_node.gate import Gate
from silo_node.governance.approvals import Approvals
from silo_node.job import Job, OpenJob, Place, PrivateJob, open_job
from silo_node.policy import Policy
from silo_node.state import JobState
from silo_node.witness import Witness

_log = logging.getLogger(__name__)
_OPEN_JOBS = 4
_NOWHERE = Address(job="", plan_digest="", round=0, attempt=0)


class SiloNode:
    """Serves requests for one cohort store under the hospital's `policy`.

    `state` is a folder inside the hospital: it holds models, cached pixels and the silo's private key. `ledger` is the file
    that remembers what the cohort's patients have paid; it outlives every job and stays with the cohort. `public_key` is what
    others know the silo by; `pin` tells it theirs. `home` is where the key and the newest receipt of the ledger lie, if not in
    `state`: apart from the ledger, so that a ledger that was deleted or set back is noticed. `approvals` is asked at every
    request whether the plan may touch the cohort, so a withdrawal stops the job at the next one.
    """

    def __init__(
        self,
        name: str,
        store: CohortStore,
        state: Path,
        *,
        policy: Policy,
        ledger: Path,
        approvals: Approvals,
        device: str = "auto",
        home: Path | None = None,
    ) -> None:
        self.name = name
        self._store, self._state, self._device = store, state, device
        own = home or state
        self._identity = Identity.open(own / "identity.key")
        self._account = Account(ledger, store.path.name, self._identity, own / "receipt.json", policy)
        self._witness = Witness(state, name, self._identity, approvals)
        self._gate = Gate(policy, self._account, self._witness)
        self._approvals, self._peers = approvals, tuple[Member, ...]()
        self._jobs: dict[str, Job] = {}
        self._one_at_a_time = threading.Lock()

    @property
    def public_key(self) -> bytes:
        """Ed25519, 32 bytes."""
        return self._identity.public_key

    def pin(self, members: Iterable[Member]) -> None:
        """The silos this one aggregates with, itself included, from a source other than the aggregator."""
        self._peers = tuple(members)

    def __call__(self, data: bytes) -> bytes:
        """Answer one request, after those that came before. Errors become a Refusal that holds no patient data."""
        with self._one_at_a_time:
            return self._reply(data)

    def _reply(self, data: bytes) -> bytes:
        address, plan = _NOWHERE, None
        try:
            request = decode_request(data)
            address = request.address
            if isinstance(request, AskReceipts | Cosign):
                return self._gate.attest(self._witness.answer(request, self._peers), address)
            try:
                self._approvals.require(address.plan_digest)
            except ApprovalError:
                plan = _of_refused(request)
                raise
            if isinstance(request, Describe):
                plan = parse_canonical(request.plan)
                job = self._open(address, plan, request)
            else:
                job = self._job(address)
                plan = job.plan
                self._witness.refuse_if_closed(address.job)
            answer = self._answer(request, job)
            self._approvals.require(address.plan_digest)  # training takes long; what was withdrawn meanwhile does not leave
            return self._gate.release(answer, address, job.passage, _model_of(request))
        except FedwardError as error:
            kind, reason = type(error).__name__, str(error)
            self._say(logging.WARNING, "refused a request", kind, reason)
        except OSError as error:  # its own words only, never the path
            kind, reason = "OSError", f"the disk or a file failed ({error.strerror}); what was done before is kept."
            self._say(logging.ERROR, "failed at a request", kind, reason)
            _log.debug("traceback", exc_info=True)
        except MemoryError:
            kind, reason = "MemoryError", "not enough memory; use a smaller batch_size or network."
            self._say(logging.ERROR, "failed at a request", kind, reason)
        except Exception as error:  # whatever a library raises may hold a path or a value: only its kind leaves
            kind, reason = (
                type(error).__name__,
                "an unexpected error; the silo's own log has the details at level DEBUG.",
            )
            self._say(logging.ERROR, "failed at a request", kind, reason)
            _log.debug("traceback", exc_info=True)
        return self._gate.refuse(Refusal(address, kind, reason), plan)

    def _say(self, level: int, event: str, kind: str, reason: str) -> None:
        """Into this silo's own log, whatever the gate lets be said outside: `reason` is in our own words."""
        fields = {"event": event, "silo": self.name, "error": kind, "reason": reason}
        _log.log(level, "%s %s: %s: %s", self.name, event, kind, reason, extra=fields)

    def _answer(self, request: Request, job: Job) -> Release:
        start = time.monotonic()
        if secure_answers.concerns(job, request):
            return secure_answers.answer(job, request, start)
        if isinstance(request, Audit):
            return audit_answers.alone(job, request)
        return self._private(request, job) if isinstance(job, PrivateJob) else self._open_answer(request, job, start)

    def _open_answer(self, request: Request, job: Job, start: float) -> Release:
        if not isinstance(job, OpenJob):
            raise SiloError("this job is neither open nor private.")
        if isinstance(request, Describe):
            return describe(job, request.address)
        if isinstance(request, Train):
            return train(job, request, start)
        if isinstance(request, Score):
            return score(job, request)
        if isinstance(request, TrainAlone):
            train_alone(job, start + request.deadline_s)
        elif isinstance(request, Personalise):
            personalise(job, request, start + request.deadline_s)
        else:
            raise SiloError("that is not a request of this plan.")
        return Done(request.address, time.monotonic() - start)

    def _private(self, request: Request, job: PrivateJob) -> Release:
        if isinstance(request, Describe):
            # The same for every version of the cohort: a token that changed would tell that a patient came or went.
            token = digest_bytes(self._identity.sign(["fedward.cohort-token/1", self._store.path.name]))
            return private_answers.describe(job, request.address, token)
        if isinstance(request, Train):
            return private_answers.train(job, request, time.monotonic())
        if isinstance(request, Score):
            return private_answers.score(job, request)
        raise SiloError("a private plan trains no model without noise, not even one that stays here.")

    def _job(self, address: Address) -> Job:
        job = self._jobs.get(address.job)
        if job is None:
            plan = JobState(self._state, address.job).plan()
            if plan is None:
                raise SiloError("this job was never described to this silo; send its plan first.")
            job = self._open(address, plan, None)
        if address.plan_digest != job.plan.digest:
            raise SiloError("the request names another plan than the one this job was described with.")
        return job

    def _open(self, address: Address, plan: Plan, request: Describe | None) -> Job:
        if plan.digest != address.plan_digest:
            raise SiloError("the plan's digest is not the one in the request's address.")
        self._account.refuse_rollback(request.receipts if request else ())
        known = JobState(self._state, address.job).plan()
        if known is not None and known.digest != plan.digest:
            raise SiloError("this job was described with another plan before; start a new job for a new plan.")
        if address.job not in self._jobs:
            place = Place(self.name, self._store, self._state, self._device, self._identity, self._peers)
            while len(self._jobs) >= _OPEN_JOBS:
                self._jobs.pop(next(iter(self._jobs)))  # the oldest; it is opened again if it is asked for
            self._jobs[address.job] = open_job(address.job, plan, place, self._gate)
        return self._jobs[address.job]


def _of_refused(request: Request) -> Plan | None:
    """The plan that comes with a request and is the one it names, so that its refusal has a receipt; None if there is none."""
    try:
        plan = parse_canonical(request.plan) if isinstance(request, Describe) else None
    except FedwardError:
        return None
    return plan if plan is not None and plan.digest == request.address.plan_digest else None


def _model_of(request: Request) -> str:
    """Digest of the global vector that a request carries; empty if it carries none."""
    vector = getattr(request, "model", None)
    return "" if vector is None else digest_bytes(vector)
