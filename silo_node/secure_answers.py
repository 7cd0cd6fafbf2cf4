"""What a silo answers in a secure aggregation: its update leaves only masked, so that nobody reads it alone."""

from __future__ import annotations

from privacy.secure_aggregation.agreement import check_model
from privacy.secure_aggregation.payload import payload, wrapped
from privacy.secure_aggregation.shares import share_of
from privacy.secure_aggregation.sizing import sizing
from protocol.errors import SiloError
from protocol.messages import (
    Address,
    Advertise,
    Advertised,
    AskVouch,
    Audit,
    AuditMasked,
    Deliver,
    Delivered,
    MaskedUpdate,
    Release,
    Request,
    Reveal,
    Revealed,
    Score,
    ScoreMasked,
    Shared,
    ShareSecrets,
    Train,
    TrainMasked,
    Vouched,
)
from protocol.secure_aggregation import AUDIT, UPDATE, Where
from protocol.vectors import from_wire
from silo_node import answers, audit_answers, private_answers, secure_scores
from silo_node.charges import check_audit, check_round
from silo_node.gate import UNSIGNED
from silo_node.job import Job, OpenJob, PrivateJob
from silo_node.secure import SecurePart, as_wire

_PHASES = (Advertise, ShareSecrets, Deliver, TrainMasked, ScoreMasked, AuditMasked, AskVouch, Reveal)


def concerns(job: Job, request: Request) -> bool:
    """Whether `request` is a phase, or asks in clear for what leaves this job only masked."""
    if isinstance(request, _PHASES):
        return True
    return (job.secure is not None and isinstance(request, Train | Audit)) or (
        job.plan.evaluation.scores == "summed" and isinstance(request, Score)
    )


def answer(job: Job, request: Request, start: float) -> Release:
    """One phase of one attempt. Raises AggregationError, and what training raises."""
    if job.secure is None:
        raise SiloError("this plan has no secure aggregation; its updates are asked for by Train.")
    address, where = request.address, _where(request.address)
    if isinstance(request, Advertise):
        if where.purpose != UPDATE:
            _check_foreseen(job, where)
            job.secure.refuse_if_opened(where)
        else:
            check_round(job.plan, where.round)
        return Advertised(address, job.secure.advertise(request.manifest, where))
    if isinstance(request, ShareSecrets):
        return Shared(address, job.secure.share(where, request.advertisements))
    if isinstance(request, Deliver):
        job.secure.deliver(where, request.boxes)
        return Delivered(address)
    if isinstance(request, TrainMasked):
        return _train(job, job.secure, request, start)
    if isinstance(request, ScoreMasked):
        return secure_scores.masked(job, job.secure, request, where)
    if isinstance(request, AuditMasked):
        return audit_answers.masked(job, job.secure, request, where)
    if isinstance(request, AskVouch):
        return Vouched(address, job.secure.vouch(where, request.survivors))
    if isinstance(request, Reveal):
        return Revealed(address, job.secure.unmask(where, request.vouches))
    what = {Score: "scores", Audit: "the counts of an audit"}.get(type(request), "updates")
    raise SiloError(f"under secure aggregation {what} leave masked only.")


def _check_foreseen(job: Job, where: Where) -> None:
    """Raises SiloError for a scoring or an audit that the plan does not foresee."""
    if where.purpose == AUDIT:
        check_audit(job.plan, where.round)
    else:
        secure_scores.check_foreseen(job.plan, where)


def _train(job: Job, secure: SecurePart, request: TrainMasked, start: float) -> MaskedUpdate:
    where = _where(request.address)
    if where.purpose != UPDATE:
        raise SiloError("an update is asked for in the name of a scoring; it is refused.")
    manifest = secure.ready(where)
    check_model(manifest, request.model)
    plain = Train(request.address, request.deadline_s, request.model)
    if isinstance(job, PrivateJob) and job.privacy.mechanism == "distributed":
        integers = private_answers.summed(job, plain, manifest, start)
        masked = secure.mask(where, wrapped(integers, manifest.width_bits))
        private_answers.forget(job, plain)
        return MaskedUpdate(request.address, as_wire(masked), UNSIGNED)
    if isinstance(job, PrivateJob):
        # What is masked is private by itself, so the same update may be part of another sum.
        delta, weight, receipt, work = from_wire(private_answers.train(job, plain, start).delta), 0, UNSIGNED, None
    elif isinstance(job, OpenJob):
        secure.refuse_if_opened(where)
        update = answers.train(job, plain, start)
        counts = {"samples": update.n_train, "positives": update.n_positives, "q_ffl": update.weight}
        weight, receipt, work = counts.get(job.plan.federation.weighting, 0), None, update.work
        delta = from_wire(update.delta)
    else:
        raise SiloError("this job is neither open nor private.")
    wanted, share = sizing(job.plan, len(manifest.roster)), share_of(manifest, job.site)
    vector = payload(job.plan, wanted, delta, weight, job.site, where.round, share)
    return MaskedUpdate(request.address, as_wire(secure.mask(where, vector)), receipt, work)


def _where(address: Address) -> Where:
    return Where(address.job, address.round, address.attempt, address.purpose)
