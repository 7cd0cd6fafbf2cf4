"""Hospitals whose patients differ in sex, age and scanner, jobs that are audited, and the counts as one table gives them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from aggregator.job import Job
from aggregator.records import AuditRecord
from evaluation.audit.layout import AuditLayout, Group
from protocol.messages import Request
from protocol.plan import Plan
from protocol.secure_aggregation import Member
from silo_node.answers import load_federated
from silo_node.cohort import CohortStore, StoreWriter
from silo_node.node import SiloNode
from silo_node.policy import Policy
from silo_node.scoring import log_probabilities
from tests.aggregator.test_secure_rounds import PRIVATE_SECURE, SECURE, Wire
from tests.conftest import GENEROUS, PRIVATE, SIZE, TINY, tiny_node, tiny_plan

SILOS = ("s0", "s1", "s2", "s3")
AUDIT = {
    "attributes": ["sex", "age", "manufacturer"],
    "values": {"manufacturer": ["Acme"]},
    "age_edges": [40, 60],
    "intersections": [["sex", "age"]],
    "operating_points": [0.3, 0.5],
    "decision_thresholds": [0.1, 0.5],
    "bins": 16,
    "epsilon": 2.0,
}
SEXES, MAKERS = ("F", "F", "M", "M", "O", None), ("Acme", "Acme", "Bolt", None)
Lose = Callable[[str, Request], bool]


def audited_plan(*, secure: bool = False, private: bool = False, scores: str = "per_site", **changes: Any) -> Plan:
    """The tiny plan with an audit; two rounds."""
    base = (PRIVATE_SECURE if secure else PRIVATE) if private else (SECURE if secure else {})
    evaluation = {"alone": False, "every": 2, "scores": scores, "audit": AUDIT | changes.pop("audit", {})}
    return tiny_plan(**{**base, "federation.rounds": 2, "evaluation": evaluation, **changes})


THREE = {
    "task.classes": ["0", "1", "2"],
    "network": {"name": "Classifier", "args": {**TINY["network"]["args"], "classes": 3}},
}
"""What makes it a task of three classes."""


def varied_store(path: Path, n: int = 40, seed: int = 0, n_classes: int = 2, *, tested: bool = True) -> CohortStore:
    """One to three images a patient, some of which say nothing of sex, age or scanner; without `tested` nobody is tested."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.policy.yaml").write_text(json.dumps(GENEROUS.model_dump(mode="json", by_alias=True)))
    rng = np.random.default_rng(seed)
    writer = StoreWriter.create(path)
    for patient in range(n // 2):
        label, sex = int(rng.integers(n_classes)), SEXES[rng.integers(len(SEXES))]
        for visit in range(int(rng.integers(1, 4))):
            image = rng.random((1, SIZE, SIZE), dtype=np.float32) * 0.6
            image[:, 4 : 4 + 3 * label, 4:9] += 0.3
            writer.add(
                image,
                patient=f"{seed}-{patient}",
                labels={"finding": str(label)},
                fold=None if tested else "train",
                sex=sex,
                age=None if patient % 7 == 0 else int(38 + 7 * (patient % 5) + visit),
                manufacturer=MAKERS[rng.integers(len(MAKERS))],
            )
    return writer.finish()


def hospitals(
    folder: Path, n: int = 4, n_classes: int = 2, untested: tuple[str, ...] = (), policy: Policy = GENEROUS
) -> dict[str, SiloNode]:
    nodes = {}
    for seed, name in enumerate(SILOS[:n]):
        path = folder / name
        store = (
            CohortStore.open(path)
            if path.exists()
            else varied_store(path, 40 + 8 * seed, seed, n_classes, tested=name not in untested)
        )
        nodes[name] = tiny_node(name, store, folder / f"state-{name}", policy)
    members = [Member(name, node.public_key) for name, node in nodes.items()]
    for node in nodes.values():
        node.pin(members)
    return nodes


def audited(plan: Plan, folder: Path, nodes: Mapping[str, SiloNode], lose: Lose = lambda *_: False) -> tuple[Job, Wire]:
    """A job over `nodes`, or the same again in another process."""
    members = [Member(name, node.public_key) for name, node in nodes.items()]
    wire = Wire(nodes, lose)
    return Job(plan, wire, folder / "job", lambda _: None, {}, members), wire


def done(job: Job) -> AuditRecord:
    """Run to the end; the audit, and the final model is kept in the job."""
    with closing(job.journal):
        job.run()
        record, job.final = job.audit(), job.models.final()  # type: ignore[attr-defined]
    assert record is not None
    return record


def counted_centrally(layout: AuditLayout, record: AuditRecord, job: Job, nodes: Mapping[str, SiloNode]) -> tuple[Any, Any]:
    """(counts, patients) as `layout.split` gives them, row by row from every hospital's own rows: nothing is vectorised."""
    counts = np.zeros((layout.n_classes, len(layout.groups), 2, layout.n_bins), dtype=np.int64)
    images: dict[tuple[int, int, int, str, int], int] = {}
    for site in record.sites:
        own = nodes[site]._jobs[job.name]
        part = own.cohort.parts.test
        load_federated(own, job.plan.federation.rounds, job.final)  # type: ignore[attr-defined]
        rows = log_probabilities(own.model, own.cohort, "test") if part else []
        for position, row in zip(part, rows, strict=True):
            for place, index in enumerate((1,) if len(row) == 2 else range(len(row))):
                rest = math.log(sum(math.exp(value) for other, value in enumerate(row) if other != index))
                at = sum(edge <= row[index] - rest for edge in record.edges[place])
                label = 0 if own.cohort.labels[position] == index else 1
                for group, what in enumerate(layout.groups):
                    if is_in(layout, what, site, own.cohort.samples[position]):
                        counts[place, group, label, at] += 1
                        key = (place, group, label, site, int(own.cohort.patients[position]))
                        images[key] = images.get(key, 0) + 1
    patients = np.zeros((layout.n_classes, len(layout.groups), 2, 2), dtype=np.int64)
    for (place, group, label, _, _), number in images.items():
        patients[place, group, label] += (1, number**2)
    return counts, patients


def is_in(layout: AuditLayout, group: Group, site: str, sample: Any) -> bool:
    """Whether a test image is in a group, told from what a person would read in the plan."""
    if group.site is not None:
        return group.site == site
    told = {
        "sex": sample.sex or "unknown",
        "age": "unknown" if sample.age is None else "0-39" if sample.age < 40 else "40-59" if sample.age < 60 else "60+",
        "manufacturer": {None: "unknown", "Acme": "Acme"}.get(sample.manufacturer, "other"),
    }
    return all(told[attribute] == value for attribute, value in group.pairs)
