"""What a silo answers: each function does what one request asks, on one job, and returns the release."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocol.canonical import digest_bytes
from protocol.errors import CohortError, DeadlineError, SiloError
from protocol.messages import Address, Description, Personalise, Score, Scores, Train, Update
from protocol.plan.fairness import loss_steps
from protocol.vectors import Vector, from_wire
from silo_node.charges import check_round
from silo_node.job import Job, OpenJob
from silo_node.own_fit import fitted
from silo_node.scoring import log_probabilities
from silo_node.scoring import score as score_part
from silo_node.upload import upload

SHARED_BY = 10


def describe(job: OpenJob, address: Address) -> Description:
    """Counts of the cohort under the plan; no row, no identifier."""
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
        modalities=_shared((sample.modality, sample.patient) for sample in samples),
        manufacturers=_shared((sample.manufacturer, sample.patient) for sample in samples),
    )


def _shared(values: Iterable[tuple[str | None, str]]) -> tuple[str, ...]:
    """The (value, patient) values that at least SHARED_BY patients have: a text that few share may point at one of them."""
    patients: dict[str, set[str]] = {}
    for value, patient in values:
        if value:
            patients.setdefault(value, set()).add(patient)
    return tuple(sorted(value for value, having in patients.items() if len(having) >= SHARED_BY))


def train(job: OpenJob, request: Train, start: float) -> Update:
    """One round of local training, counted from `start` (time.monotonic()).

    Raises DeadlineError, TrainingError, and SiloError if the plan has no such round.
    """
    check_round(job.plan, request.address.round)
    number, vector = request.address.round, from_wire(request.model)
    job.model.load(vector, job.state.personal(before=number))
    weight = loss_steps(job.plan.federation, job.trainer.loss()) if _by_loss(job) else 0
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
        delta=upload(job, number, delta),
        n_train=int(counts.sum()),
        n_positives=int(counts[1:].sum()),
        loss=outcome.loss,
        proximal=outcome.proximal,
        steps=outcome.steps,
        work=_share(outcome.steps, outcome.planned),
        seconds=time.monotonic() - start,
        weight=weight,
    )


def _by_loss(job: OpenJob) -> bool:
    """Whether the update weighs by the loss of the model it starts from. Without training images it weighs nothing."""
    return job.plan.federation.weighting == "q_ffl" and bool(job.cohort.parts.train)


def _share(done: int, planned: int) -> float:
    """In twentieths: an exact fraction would tell how many steps there are, and with that how many images."""
    return 1.0 if done >= planned else max(1, done * 20 // planned) / 20


def train_alone(job: OpenJob, deadline: float) -> None:
    """Train and keep the local-only baseline: the mean of its last `average_last` rounds, as for the global model."""
    if job.state.model("alone") is not None:
        return  # finished before a restart; training is deterministic, so it would come out the same
    rounds, last = job.plan.federation.rounds, job.plan.federation.average_last
    job.model.reset()
    total: dict[str, np.ndarray[Any, Any]] = {}

    def add(number: int) -> None:
        if number > rounds - last:
            for name, value in job.model.everything().items():
                total[name] = value if name not in total else total[name] + value

    job.trainer.alone(deadline, add)
    job.state.keep_model("alone", {name: (value / last).astype(value.dtype) for name, value in total.items()})


def personalise(job: OpenJob, request: Personalise, deadline: float) -> None:
    """Fine-tune the final model on this cohort and keep the result."""
    if job.state.model("personalised") is not None:
        return
    load_federated(job, request.address.round, from_wire(request.model))
    job.state.keep_origin(digest_bytes(request.model))
    job.trainer.personalise(deadline)
    job.state.keep_model("personalised", job.model.everything())


def load_federated(job: Job, number: int, vector: Vector) -> None:
    """The federation's model as this site uses it: the shared vector with the site's own personal parts."""
    federation = job.plan.federation
    final = number == federation.rounds
    first = number - federation.average_last + 1 if final else number
    job.model.load(vector, job.state.personal_mean(first, number))


def score(job: OpenJob, request: Score) -> Scores:
    """Score one model on one part. Raises SiloError if this silo does not have it, CohortError if the part is empty."""
    if request.split == "train":
        raise SiloError("no plan foresees scores on the patients that trained; they would say who did.")
    mixed = request.kind == "personalised" and job.plan.evaluation.personalise == "mix"
    alone = _alone_rows(job, request.split) if (request.with_alone or mixed) and request.kind != "alone" else None
    if mixed and job.state.model("alone") is None:
        raise SiloError("mixing needs this silo's own model, and there is none.")
    if request.kind in ("federated", "recalibrated") or mixed:
        if request.model is None:
            raise SiloError("scoring the federated model needs its vector.")
        load_federated(job, request.address.round, from_wire(request.model))
    else:
        tensors = job.state.model(request.kind) if request.kind in ("alone", "personalised") else None
        if tensors is None:
            raise SiloError(f"this silo has no model of kind {request.kind!r}.")
        job.model.load(None, tensors)
    own = fitted(job, request)
    scored = score_part(
        job.model, job.cohort, request.split, alone, mixed=mixed, changed=own.recalibration, thresholds=own.thresholds
    )
    if scored is None:
        raise CohortError(f"this silo has no {request.split} patients; see data.split.")
    return Scores(request.address, request.kind, request.split, scored.n, scored.loss, scored.accuracy, scored.classes)


def _alone_rows(job: Job, part: str) -> NDArray[np.float64] | None:
    """Log-probabilities of `part` under this silo's own model, shape (n, classes). They stay here.

    None if there is no such model or the part is empty.
    """
    tensors = job.state.model("alone")
    if tensors is None or not job.cohort.parts.named(part):
        return None
    job.model.load(None, tensors)
    return log_probabilities(job.model, job.cohort, part)
