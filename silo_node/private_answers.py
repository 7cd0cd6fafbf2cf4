"""What a silo answers under a private plan: noised, and kept so that asking again gives the same and costs nothing more."""

from __future__ import annotations

import time

import msgspec
import numpy as np
from numpy.typing import NDArray

from evaluation.noisy_histograms import count_votes
from privacy.noise import discrete_laplace
from privacy.randomness import SecureBits, choose
from privacy.secure_aggregation.sizing import noise_share
from protocol.canonical import digest_bytes
from protocol.errors import DeadlineError, MessageError, SiloError
from protocol.messages import (
    Address,
    NoisyHistograms,
    PrivateDescription,
    PrivateScores,
    PrivateUpdate,
    Score,
    Train,
)
from protocol.secure_aggregation import Manifest
from protocol.vectors import Vector, from_wire
from silo_node.answers import load_federated
from silo_node.charges import round_charge, scores_charge
from silo_node.gate import UNSIGNED
from silo_node.job import Job, PrivateJob
from silo_node.scoring import log_probabilities, patient_by_patient
from silo_node.upload import upload

_ROUNDS_KEPT = 2


def describe(job: PrivateJob, address: Address, cohort: str) -> PrivateDescription:
    """That the silo takes part, and with which network; no count."""
    return PrivateDescription(address, job.model.layout.digest, cohort)


def train(job: PrivateJob, request: Train, start: float) -> PrivateUpdate:
    """The update of one round, made once and paid for before anything is drawn; from then on nothing is refused.

    Raises MessageError for a model that does not fit, DeadlineError if it came too late to begin, SiloError if the round was
    answered for another model, BudgetError.
    """
    number = request.address.round
    charge = round_charge(job.plan, job.privacy, job.guarantee, number)
    asked = digest_bytes(request.model)
    kept = job.outbox.find(charge.release, asked)
    if kept is not None:
        return PrivateUpdate(request.address, memoryview(kept), UNSIGNED)
    vector = checked_model(job, request.model)
    if not time.monotonic() < start + request.deadline_s:
        raise DeadlineError("the deadline had passed before training began; raise federation.round_deadline_s.")
    bits = job.gate.pay(job.passage, charge, job.outbox, asked)
    job.model.load(vector, job.state.personal(before=number))
    job.trainer.round(number, bits)
    delta = finite(job.model.shared() - vector)
    if job.model.personal_names:
        personal = {name: finite(value) for name, value in job.model.personal().items()}
        job.state.keep_personal(number, personal, job.plan.federation.average_last)
    kept = job.outbox.keep(charge.release, asked, bytes(upload(job, number, delta)))
    if number > _ROUNDS_KEPT:
        job.outbox.forget(f"round/{number - _ROUNDS_KEPT}")
    return PrivateUpdate(request.address, memoryview(kept), UNSIGNED)


def summed(job: PrivateJob, request: Train, manifest: Manifest, start: float) -> NDArray[np.int64]:
    """The integers of one attempt at a round of mechanism distributed, with this hospital's share of the noise.

    Each attempt is a fresh sample, paid for before anything is drawn. Only masked may they leave.
    """
    charge = round_charge(job.plan, job.privacy, job.guarantee, request.address.round, request.address.attempt)
    vector = checked_model(job, request.model)
    if not time.monotonic() < start + request.deadline_s:
        raise DeadlineError("the deadline had passed before training began; raise federation.round_deadline_s.")
    asked = digest_bytes(request.model)
    bits = job.gate.pay(job.passage, charge, job.outbox, asked)
    return job.trainer.summed(vector, noise_share(job.guarantee.noise_multiplier, manifest), bits)


def forget(job: PrivateJob, request: Train) -> None:
    """Delete the secret of an attempt whose integers were masked: nothing may be drawn from it again."""
    charge = round_charge(job.plan, job.privacy, job.guarantee, request.address.round, request.address.attempt)
    job.outbox.forget(f"{charge.release}/key")


def score(job: PrivateJob, request: Score) -> PrivateScores:
    """Noised histograms of one model on one part, made once. Raises SiloError if the plan foresees no such scores."""
    charge = scores_charge(job.plan, job.privacy, request.address.round, request.kind, request.split)
    if request.model is None:
        raise SiloError("scoring the federated model needs its vector.")
    vector = checked_model(job, request.model)
    asked = digest_bytes(request.model)
    kept = job.outbox.find(charge.release, asked)
    if kept is None:
        bits = job.gate.pay(job.passage, charge, job.outbox, asked)
        load_federated(job, request.address.round, vector)
        kept = job.outbox.keep(charge.release, asked, msgspec.msgpack.encode(_noised(job, request.split, bits)))
    classes = msgspec.msgpack.decode(kept, type=tuple[NoisyHistograms, ...])
    epsilon = job.privacy.metrics_epsilon
    return PrivateScores(request.address, request.kind, request.split, epsilon, len(classes) / epsilon, classes, UNSIGNED)


def finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """`values` with every NaN and infinity as 0: a refusal would say how the noise fell, and with it who was drawn."""
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def checked_model(job: Job, model: memoryview) -> Vector:
    """The vector of a request. Raises MessageError unless it has the network's length and is finite."""
    vector = from_wire(model)
    if vector.shape != (job.model.layout.size,):
        raise MessageError(f"a vector of {vector.size} values does not fit a model of {job.model.layout.size}.")
    if not np.isfinite(vector).all():
        raise MessageError("the model holds values that are not finite; it was not used.")
    return vector


def _noised(job: PrivateJob, part: str, bits: SecureBits) -> tuple[NoisyHistograms, ...]:
    """Noise on every count, also where no patient stands in `part`: that there is none must not show."""
    positions = np.array(job.cohort.parts.named(part), dtype=np.int64)
    rows = rows_of(job, part) if len(positions) or job.model.each_apart else np.zeros((0, len(job.plan.task.classes)))
    votes = count_votes(
        job.cohort.labels[positions], rows, job.cohort.patients[positions], lambda k: int(choose(k, 1, bits)[0])
    )
    scale = len(votes) / job.privacy.metrics_epsilon  # a patient votes once for each scored class

    def noised(counts: NDArray[np.int64]) -> tuple[int, ...]:
        return tuple(int(n) for n in counts + discrete_laplace(len(counts), scale, bits))

    return tuple(NoisyHistograms(noised(positive), noised(negative)) for positive, negative in votes)


def rows_of(job: PrivateJob, part: str) -> NDArray[np.float64]:
    """Log-probabilities of `part`, shape (n, classes). Where the network fails they are NaN, which votes at even odds."""
    if job.plan.code is not None and job.model.each_apart:
        most, turns = job.privacy.max_images_per_patient, job.plan.code.turns_per_score
        return patient_by_patient(job.model, job.cohort, part, most, turns)
    try:
        return log_probabilities(job.model, job.cohort, part)
    except Exception:  # a failure that showed would tell of the patients it failed on
        return np.full((len(job.cohort.parts.named(part)), len(job.plan.task.classes)), np.nan)
