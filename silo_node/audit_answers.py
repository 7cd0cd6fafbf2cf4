"""What a silo answers to the audit: its test patients' scores under the final model, counted by group. Rows stay here.

Where the plan compares with another model, that model's scores of the same images are counted with them.

Once a job, for one model and one set of edges: asked again it answers the same. The counts leave alone (Audit) or within a
masked sum (AuditMasked); under privacy they were noised and charged before either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from evaluation.audit.counting import TestRows, count_images, count_votes, noised
from evaluation.audit.edges import Edges, check_edges
from evaluation.audit.layout import AuditLayout
from evaluation.audit.sums import from_wire, to_wire
from privacy.noise import discrete_laplace
from privacy.randomness import choose
from privacy.secure_aggregation.agreement import check_agreed_edges, check_model, edges_digest, masked_counts
from protocol.baseline import baseline
from protocol.canonical import digest_bytes, digest_json
from protocol.errors import EvaluationError, MessageError, SiloError
from protocol.messages import Audit, AuditCounts, AuditMasked, MaskedScores
from protocol.messages import Edges as Asked
from protocol.plan.audit import Attribute
from protocol.secure_aggregation import AUDIT, Where
from protocol.vectors import Vector as Model
from silo_node import answers, private_answers
from silo_node.charges import audit_charge, check_audit
from silo_node.cohort import Sample
from silo_node.gate import UNSIGNED
from silo_node.job import Job, PrivateJob
from silo_node.scoring import log_probabilities
from silo_node.secure import SecurePart, as_wire
from silo_node.training.cohort import Cohort
from silo_node.training.model import SiloModel

Vector = NDArray[np.int64]


def alone(job: Job, request: Audit) -> AuditCounts:
    """The counts as they are, or noised. Raises SiloError, EvaluationError, and under privacy what paying raises."""
    private = isinstance(job, PrivateJob)
    return AuditCounts(request.address, to_wire(_counts(job, request)), UNSIGNED if private else None)


def masked(job: Job, secure: SecurePart, request: AuditMasked, where: Where) -> MaskedScores:
    """The counts, masked for the silos of this attempt. Raises AggregationError, and what counting raises."""
    if where.purpose != AUDIT:
        raise SiloError("an audit is asked for in the name of something else; it is refused.")
    secure.refuse_if_opened(where)
    manifest = secure.ready(where)
    check_model(manifest, request.model)
    check_agreed_edges(manifest, request.edges)
    private = isinstance(job, PrivateJob)
    vector = masked_counts(_counts(job, request), len(manifest.roster), noised=private)
    return MaskedScores(request.address, as_wire(secure.mask(where, vector)), UNSIGNED if private else None)


def _counts(job: Job, request: Audit | AuditMasked) -> Vector:
    """The vector (layout.size,) that may leave, and the same whenever it is asked for again."""
    check_audit(job.plan, request.address.round)
    layout = job.passage.audit
    if layout is None or request.address.purpose != AUDIT:
        raise SiloError("an audit is asked for in the name of something else; it is refused.")
    edges = _checked_edges(layout, request.edges)
    model = private_answers.checked_model(job, request.model)
    asked = digest_json([digest_bytes(request.model), edges_digest(request.edges)])
    if isinstance(job, PrivateJob):
        return _noised_counts(job, layout, request.address.round, model, edges, asked)
    job.state.keep_audit(asked)
    other = _under_baseline(job) if layout.paired else None  # first: the final model is what stays loaded
    answers.load_federated(job, request.address.round, model)
    return count_images(layout, job.site, edges, replace(_rows(job, log_probabilities), baseline=other))


def _under_baseline(job: Job) -> NDArray[np.float64]:
    """Log-probabilities (n, classes) of the test part under the model that the plan compares with. Raises WeightsError."""
    job.model.load(None, baseline(job.plan, job.model.network))
    tested = job.cohort.parts.named("test")
    return log_probabilities(job.model, job.cohort, "test") if tested else np.zeros((0, len(job.plan.task.classes)))


def _checked_edges(layout: AuditLayout, edges: Asked) -> tuple[Edges, ...]:
    """Raises MessageError: what is wrong with them follows from the plan and the request, so it may be said."""
    try:
        return check_edges(layout, [np.array(one) for one in edges])
    except EvaluationError as error:
        raise MessageError(str(error)) from error


def _noised_counts(
    job: PrivateJob, layout: AuditLayout, number: int, model: Model, edges: tuple[Edges, ...], asked: str
) -> Vector:
    """Made once, and paid for before anything of it is drawn."""
    charge = audit_charge(job.plan, job.privacy, number)
    kept = job.outbox.find(charge.release, asked)
    if kept is None:
        bits = job.gate.pay(job.passage, charge, job.outbox, asked)
        answers.load_federated(job, number, model)
        rows = _rows(job, lambda *_: private_answers.rows_of(job, "test"))
        vector = count_votes(layout, job.site, edges, rows, lambda k: int(choose(k, 1, bits)[0]))
        noisy = np.flatnonzero(noised(layout, job.site))
        vector[noisy] += discrete_laplace(len(noisy), layout.votes / layout.audit.epsilon, bits)
        kept = job.outbox.keep(charge.release, asked, bytes(to_wire(vector)))
    return from_wire(layout, memoryview(kept))


def _rows(job: Job, scored: Callable[[SiloModel, Cohort, str], NDArray[np.float64]]) -> TestRows:
    """The test part as it is counted, which may be empty; the model is loaded."""
    cohort, part = job.cohort, np.array(job.cohort.parts.named("test"), dtype=np.int64)
    none = np.zeros((0, len(job.plan.task.classes)))
    return TestRows(
        labels=cohort.labels[part],
        log_probabilities=scored(job.model, cohort, "test") if len(part) else none,
        patients=cohort.patients[part],
        attributes=[_attributes(cohort.samples[position]) for position in part],
    )


def _attributes(sample: Sample) -> dict[str, str | int | None]:
    """What the cohort store says of one image's patient and scanner."""
    return {name: getattr(sample, name) for name in get_args(Attribute)}
