"""The silo node: a request in, a gated release out. It answers every request, if only with a refusal, and survives a kill."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from protocol.errors import CohortError, DeadlineError, FedwardError, GateError, SiloError
from protocol.messages import (
    Address,
    Describe,
    Description,
    Done,
    Personalise,
    Refusal,
    Release,
    Request,
    Score,
    Scores,
    Train,
    TrainAlone,
    Update,
    decode_request,
)
from protocol.plan import Plan, parse_plan
from protocol.vectors import from_wire, to_wire
from silo_node.cohort import CohortStore
from silo_node.gate import release
from silo_node.scoring import score
from silo_node.state import JobState
from silo_node.training.cohort import Cohort, load_cohort
from silo_node.training.device import pick_device
from silo_node.training.local import Trainer
from silo_node.training.model import SiloModel

_log = logging.getLogger(__name__)
_NOWHERE = Address(job="", plan_digest="", round=0, attempt=0)


@dataclass(frozen=True)
class Job:
    """One plan on this cohort, ready to work."""

    plan: Plan
    state: JobState
    cohort: Cohort
    model: SiloModel
    trainer: Trainer


class SiloNode:
    """Serves requests for one cohort store. `state` is a folder inside the hospital; it holds models and cached pixels."""

    def __init__(self, name: str, store: CohortStore, state: Path, *, device: str = "auto") -> None:
        self.name = name
        self._store, self._state, self._device = store, state, device
        self._jobs: dict[str, Job] = {}

    def __call__(self, data: bytes) -> bytes:
        """Answer one request. Errors become a Refusal that names the error and holds no patient data."""
        address = _NOWHERE
        try:
            request = decode_request(data)
            address = request.address
            answer, job = self._answer(request)
            return release(answer, address, job.model.layout)
        except FedwardError as error:
            kind, reason = type(error).__name__, str(error)
        except MemoryError:
            kind, reason = "MemoryError", "not enough memory; use a smaller batch_size or network."
        except Exception as error:  # whatever a library raises may hold a path or a value: only its kind leaves
            _log.exception("request failed")
            kind, reason = type(error).__name__, "an unexpected error; the silo's own log has the details."
        return release(Refusal(address, kind, reason), address, None)

    def _answer(self, request: Request) -> tuple[Release, Job]:
        start = time.monotonic()
        if isinstance(request, Describe):
            job = self._open(request.address, parse_plan(request.plan.decode("utf-8")))
            return _describe(job, request.address), job
        job = self._job(request.address)
        if isinstance(request, Train):
            return _train(job, request, start), job
        if isinstance(request, Score):
            return _score(job, request), job
        if isinstance(request, TrainAlone):
            _train_alone(job, start + request.deadline_s)
        else:
            _personalise(job, request, start + request.deadline_s)
        return Done(request.address, time.monotonic() - start), job

    def _job(self, address: Address) -> Job:
        job = self._jobs.get(address.job)
        if job is None:
            plan = JobState(self._state, address.job).plan()
            if plan is None:
                raise SiloError("this job was never described to this silo; send its plan first.")
            job = self._open(address, plan)
        if address.plan_digest != job.plan.digest:
            raise SiloError("the request names another plan than the one this job was described with.")
        return job

    def _open(self, address: Address, plan: Plan) -> Job:
        if plan.digest != address.plan_digest:
            raise SiloError("the plan's digest is not the one in the request's address.")
        state = JobState(self._state, address.job)
        state.keep_plan(plan)
        if address.job not in self._jobs:
            cohort = load_cohort(self._store, plan, self._state / "cache")
            model = SiloModel(plan, cohort.input_shape, pick_device(self._device))
            self._jobs[address.job] = Job(plan, state, cohort, model, Trainer(plan, cohort, model, self.name))
        return self._jobs[address.job]


def _describe(job: Job, address: Address) -> Description:
    parts, samples = job.cohort.parts, job.cohort.store.samples
    return Description(
        address=address,
        n_patients=job.cohort.n_patients,
        n_train=len(parts.train),
        n_validation=len(parts.validation),
        n_test=len(parts.test),
        class_counts_train=tuple(int(n) for n in job.cohort.class_counts("train", len(job.plan.task.classes))),
        layout_digest=job.model.layout.digest,
        store_digest=job.cohort.store.digest,
        modalities=tuple(sorted({s.modality for s in samples if s.modality})),
        manufacturers=tuple(sorted({s.manufacturer for s in samples if s.manufacturer})),
    )


def _train(job: Job, request: Train, start: float) -> Update:
    number, vector = request.address.round, from_wire(request.model)
    job.model.load(vector, job.state.personal(before=number))
    outcome = job.trainer.round(number, start + request.deadline_s)
    delta = job.model.shared()
    delta -= vector
    if time.monotonic() > start + request.deadline_s:
        raise DeadlineError("the update was ready after the deadline; raise federation.round_deadline_s or do fewer steps.")
    if job.model.personal_names:
        job.state.keep_personal(number, job.model.personal(), job.plan.federation.average_last)
    counts = job.cohort.class_counts("train", len(job.plan.task.classes))
    return Update(
        address=request.address,
        delta=to_wire(delta),
        n_train=int(counts.sum()),
        n_positives=int(counts[1:].sum()),
        loss=outcome.loss,
        proximal=outcome.proximal,
        steps=outcome.steps,
        seconds=time.monotonic() - start,
    )


def _train_alone(job: Job, deadline: float) -> None:
    if job.state.model("alone") is not None:
        return  # finished before a restart; training is deterministic, so it would come out the same
    rounds, last = job.plan.federation.rounds, job.plan.federation.average_last
    job.model.reset()
    total: dict[str, object] = {}

    def add(number: int) -> None:
        if number > rounds - last:
            for name, value in job.model.everything().items():
                total[name] = value if name not in total else total[name] + value  # type: ignore[operator]

    job.trainer.alone(deadline, add)
    mean = {name: (value / last).astype(value.dtype) for name, value in total.items()}  # type: ignore[attr-defined, operator]
    job.state.keep_model("alone", mean)


def _personalise(job: Job, request: Personalise, deadline: float) -> None:
    if job.state.model("personalised") is not None:
        return
    _load_federated(job, request.address.round, from_wire(request.model))
    job.trainer.personalise(deadline)
    job.state.keep_model("personalised", job.model.everything())


def _load_federated(job: Job, number: int, vector: object) -> None:
    """The federation's model as this site uses it: the shared vector with the site's own personal parts."""
    federation = job.plan.federation
    final = number == federation.rounds
    first = number - federation.average_last + 1 if final else number
    job.model.load(vector, job.state.personal_mean(first, number))  # type: ignore[arg-type]


def _score(job: Job, request: Score) -> Scores:
    if request.kind == "federated":
        if request.model is None:
            raise SiloError("scoring the federated model needs its vector.")
        _load_federated(job, request.address.round, from_wire(request.model))
    else:
        tensors = job.state.model(request.kind) if request.kind in ("alone", "personalised") else None
        if tensors is None:
            raise SiloError(f"this silo has no model of kind {request.kind!r}.")
        job.model.load(None, tensors)
    scored = score(job.model, job.cohort, request.split)
    if scored is None:
        raise CohortError(f"this silo has no {request.split} patients; see data.split.")
    return Scores(request.address, request.kind, request.split, scored.n, scored.loss, scored.accuracy, scored.classes)


__all__ = ["GateError", "SiloNode"]
