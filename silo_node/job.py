"""One plan on one cohort, ready to work."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from evaluation.audit.layout import AuditLayout, layout_of
from evaluation.summed import vector_size
from privacy.guarantee import Guarantee, guarantee_of
from privacy.secure_aggregation.payload import payload_size
from protocol.baseline import baseline
from protocol.errors import NetworkError
from protocol.identity import Identity
from protocol.plan import Plan
from protocol.plan.federation import declared_share
from protocol.plan.privacy import PatientPrivacy
from protocol.secure_aggregation import AUDIT, UPDATE, Member
from silo_node.cohort import CohortStore
from silo_node.gate import Gate
from silo_node.outbox import Outbox
from silo_node.release_checks import Passage
from silo_node.secure import SecurePart
from silo_node.state import JobState
from silo_node.training.cohort import Cohort, load_cohort
from silo_node.training.device import pick_device
from silo_node.training.local import Trainer
from silo_node.training.model import SiloModel
from silo_node.training.private import PrivateTrainer
from silo_node.training.room import refuse_without_room

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What every job has."""

    plan: Plan
    state: JobState
    cohort: Cohort
    model: SiloModel
    passage: Passage
    secure: SecurePart | None
    site: str


@dataclass(frozen=True)
class OpenJob(Job):
    """A job without differential privacy."""

    trainer: Trainer


@dataclass(frozen=True)
class PrivateJob(Job):
    """A job whose releases are noised and charged."""

    privacy: PatientPrivacy
    guarantee: Guarantee
    trainer: PrivateTrainer
    outbox: Outbox
    gate: Gate


@dataclass(frozen=True)
class Place:
    """Where a job is opened: the silo, its cohort, its state, what it computes on, and whom it aggregates with."""

    site: str
    store: CohortStore
    root: Path
    device: str
    identity: Identity
    peers: tuple[Member, ...]


def open_job(name: str, plan: Plan, place: Place, gate: Gate) -> Job:
    """The job `name` of `plan` on `store`. Raises PlanError, PolicyError, CohortError or NetworkError before any training.

    The policy is asked before any pixel is read, and how many patients there are is asked of the whole cohort store: an answer
    that depended on the plan's target or split could be asked about single patients.
    """
    privacy = plan.privacy
    if plan.federation.weighting == "declared":
        declared_share(plan.federation, place.site)  # a hospital without a number of its own is in no mean
    guarantee = guarantee_of(plan) if isinstance(privacy, PatientPrivacy) else None
    gate.admit(plan, guarantee, name)
    gate.admit_cohort(len({sample.patient for sample in place.store.samples}))
    gate.admit_images(plan, place.store, place.root / "cache")
    state = JobState(place.root, name)
    cohort = load_cohort(place.store, plan, place.root / "cache")
    if not len(cohort.labels):  # no refusal, which would leave; but the hospital would pay for nothing and not know it
        reason = "no image has one of task.classes as its task.target and passes data.preprocessing; it is noise that leaves."
        event = "no image of this cohort fits the plan"
        fields = {"event": event, "silo": place.site, "job": name, "reason": reason}
        _log.warning("%s: %s: %s", place.site, event, reason, extra=fields)
    hidden = (place.root, place.store.path)
    model = SiloModel(plan, cohort.input_shape, pick_device(place.device, plan), hidden)
    baseline(plan, model.network)  # the audit comes last: that its other model is missing should be said before any training
    size = payload_size(plan, model.layout.size) if privacy.secure_aggregation else 0
    counts = vector_size(plan) if plan.evaluation.scores == "summed" else 0
    audit = _audit_layout(plan, place)
    passage = Passage(name, plan, guarantee, model.layout, size, counts, audit)
    state.keep_plan(plan)
    sizes = {UPDATE: size, AUDIT: audit.size if audit else 0}
    secure = SecurePart(plan, sizes, counts, place.site, place.identity, place.peers, state.folder) if size else None
    if guarantee is None or not isinstance(privacy, PatientPrivacy):
        return OpenJob(plan, state, cohort, model, passage, secure, place.site, Trainer(plan, cohort, model, place.site))
    if privacy.mechanism == "distributed":
        learned = [name for name, parameter in model.network.named_parameters() if parameter.requires_grad]
        if learned != [name for name, _ in model.layout.entries]:
            raise NetworkError(
                "network: the order of its parameters is not that of its tensors; mechanism distributed needs it."
            )
    if plan.code is not None:
        refuse_without_room(plan, plan.code, privacy, guarantee, place.store.samples)
    trainer = PrivateTrainer(plan, privacy, guarantee, cohort, model)
    outbox = Outbox(state.folder / "outbox")
    return PrivateJob(plan, state, cohort, model, passage, secure, place.site, privacy, guarantee, trainer, outbox, gate)


def _audit_layout(plan: Plan, place: Place) -> AuditLayout | None:
    """What the counts of the plan's audit stand for. Who is asked on its own counts itself only; masked vectors must match."""
    if plan.evaluation.audit is None:
        return None
    masked = plan.privacy.secure_aggregation
    return layout_of(plan, tuple(peer.name for peer in place.peers) if masked else (place.site,))
