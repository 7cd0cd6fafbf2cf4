"""What a silo answers under a private plan: noised, and kept so that asking again gives the same and costs nothing more."""

from __future__ import annotations

import time

import msgspec
import numpy as np
from numpy.typing import NDArray

from evaluation.noisy_histograms import count_votes
from privacy.noise import discrete_laplace
from privacy.randomness import SecureBits, choose
from protocol.canonical import digest_bytes
from protocol.errors import DeadlineError, SiloError
from protocol.messages import (
    Address,
    NoisyHistograms,
    PrivateDescription,
    PrivateScores,
    PrivateUpdate,
    Score,
    Train,
)
from protocol.vectors import from_wire, to_wire
from silo_node.answers import load_federated
from silo_node.charges import round_charge, scores_charge
from silo_node.gate import UNSIGNED
from silo_node.job import PrivateJob
from silo_node.scoring import log_probabilities

_ROUNDS_KEPT = 2


def describe(job: PrivateJob, address: Address, cohort: str) -> PrivateDescription:
    """That the silo takes part, and with which network; no count."""
    return PrivateDescription(address, job.model.layout.digest, cohort)


def train(job: PrivateJob, request: Train, start: float) -> PrivateUpdate:
    """The update of one round, made once. Raises SiloError if the round was answered for another model, DeadlineError."""
    number = request.address.round
    charge = round_charge(job.plan, job.privacy, job.guarantee, number)
    asked = digest_bytes(request.model)
    kept = job.outbox.find(charge.release, asked)
    if kept is not None:
        return PrivateUpdate(request.address, memoryview(kept), UNSIGNED)
    job.gate.refuse_if_spent(job.passage.job, charge)
    vector = from_wire(request.model)
    job.model.load(vector, job.state.personal(before=number))
    job.trainer.round(number, start + request.deadline_s)
    delta = job.model.shared()
    delta -= vector
    if time.monotonic() > start + request.deadline_s:
        raise DeadlineError("the update was ready after the deadline; raise federation.round_deadline_s or do fewer steps.")
    if job.model.personal_names:
        job.state.keep_personal(number, job.model.personal(), job.plan.federation.average_last)
    kept = job.outbox.keep(charge.release, asked, bytes(to_wire(delta)))
    if number > _ROUNDS_KEPT:
        job.outbox.forget(f"round/{number - _ROUNDS_KEPT}")
    return PrivateUpdate(request.address, memoryview(kept), UNSIGNED)


def score(job: PrivateJob, request: Score) -> PrivateScores:
    """Noised histograms of one model on one part, made once. Raises SiloError if the plan foresees no such scores."""
    charge = scores_charge(job.plan, job.privacy, request.address.round, request.kind, request.split)
    if request.model is None:
        raise SiloError("scoring the federated model needs its vector.")
    asked = digest_bytes(request.model)
    kept = job.outbox.find(charge.release, asked)
    if kept is None:
        job.gate.refuse_if_spent(job.passage.job, charge)
        load_federated(job, request.address.round, from_wire(request.model))
        kept = job.outbox.keep(charge.release, asked, msgspec.msgpack.encode(_noised(job, request.split)))
    classes = msgspec.msgpack.decode(kept, type=tuple[NoisyHistograms, ...])
    epsilon = job.privacy.metrics_epsilon
    return PrivateScores(request.address, request.kind, request.split, epsilon, len(classes) / epsilon, classes, UNSIGNED)


def _noised(job: PrivateJob, part: str) -> tuple[NoisyHistograms, ...]:
    """Noise on every count, also where no patient stands in `part`: that there is none must not show."""
    bits = SecureBits()
    positions = np.array(job.cohort.parts.named(part), dtype=np.int64)
    n_classes = len(job.plan.task.classes)
    rows = log_probabilities(job.model, job.cohort, part) if len(positions) else np.zeros((0, n_classes))
    votes = count_votes(
        job.cohort.labels[positions], rows, job.cohort.patients[positions], lambda k: int(choose(k, 1, bits)[0])
    )
    scale = len(votes) / job.privacy.metrics_epsilon  # a patient votes once for each scored class

    def noised(counts: NDArray[np.int64]) -> tuple[int, ...]:
        return tuple(int(n) for n in counts + discrete_laplace(len(counts), scale, bits))

    return tuple(NoisyHistograms(noised(positive), noised(negative)) for positive, negative in votes)
