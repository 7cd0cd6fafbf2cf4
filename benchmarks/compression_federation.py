"""The federation whose updates compression.py measures: four hospitals of the demo's chest phantoms, in process."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from phantom_stores import fill_stores

from protocol.plan import Plan
from protocol.vectors import Layout, Vector

SILOS = 4
OPEN = {"mechanism": "none", "secure_aggregation": False}
SECURE = {"mechanism": "none", "secure_aggregation": True}
NEAREST = "secure, 16 bits, bound 64, nearest"
WAYS: dict[str, dict[str, Any]] = {
    "float32": {"privacy": OPEN},
    "quantised, 16 bits": {"privacy": OPEN, "compression": {"name": "quantised", "bits": 16}},
    "quantised, 8 bits": {"privacy": OPEN, "compression": {"name": "quantised", "bits": 8}},
    "top_k, 0.1": {"privacy": OPEN, "compression": {"name": "top_k", "fraction": 0.1}},
    "top_k, 0.01": {"privacy": OPEN, "compression": {"name": "top_k", "fraction": 0.01}},
    "secure, 32 bits": {"privacy": SECURE | {"width_bits": 32}},
    "secure, 16 bits, bound 64": {"privacy": SECURE | {"width_bits": 16}},
    "secure, 16 bits, bound 0.25": {"privacy": SECURE | {"width_bits": 16, "update_bound": 0.25}},
    NEAREST: {"privacy": SECURE | {"width_bits": 16}},
}


def make_stores(folder: Path, patients: int) -> dict[str, Path]:
    """Four hospitals' stores of so many patients each."""
    from fedward.demo.phantoms.sites import SITES

    return fill_stores(folder, [replace(site, mix=replace(site.mix, patients=patients)) for site in SITES[:SILOS]], seed=7)


def make_plan(way: Mapping[str, Any], seed: int, rounds: int, steps: int) -> Plan:
    """The demo's plan without its noise, some rounds long."""
    import fedward.demo

    plan = yaml.safe_load((Path(fedward.demo.__file__).parent / "plan.yaml").read_text(encoding="utf-8"))
    plan |= {"seed": seed, "privacy": way["privacy"], "evaluation": {"every": rounds, "alone": False}}
    plan["training"] |= {"local_steps": steps, "optimizer": {"name": "SGD", "lr": 0.02, "momentum": 0.9}}
    plan["federation"] |= {"rounds": rounds, "compression": way.get("compression", {"name": "none"})}
    plan["data"]["split"] = {"validation_fraction": 0.0}
    return Plan.model_validate_json(json.dumps(plan))


def federate(plan: Plan, stores: Mapping[str, Path], folder: Path) -> tuple[float, list[Vector], Layout, dict[str, int]]:
    """Test AUROC over all hospitals, every update that could be read, the network's layout, bytes of each upload."""
    from aggregator.job import Job
    from evaluation.federated import pooled
    from protocol.messages import Update, decode_release
    from protocol.secure_aggregation import Member
    from protocol.transport.in_process import InProcessTransport
    from silo_node.cohort import CohortStore
    from silo_node.governance.approvals import ApprovedLocally
    from silo_node.node import SiloNode
    from silo_node.policy import Policy

    policy, updates = Policy(allow_without_privacy=True, min_patients=1), []
    nodes = {
        name: SiloNode(
            name,
            CohortStore.open(path),
            folder / name,
            policy=policy,
            ledger=folder / f"{name}.jsonl",
            approvals=ApprovedLocally(),
            device="cpu",
        )
        for name, path in stores.items()
    }
    members = [Member(name, node.public_key) for name, node in nodes.items()]
    for node in nodes.values():
        node.pin(members)

    def watched(node: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        def serve(data: bytes) -> bytes:
            reply = node(data)
            if isinstance(update := decode_release(reply), Update) and plan.federation.compression.name == "none":
                updates.append(np.frombuffer(update.delta, "<f4").copy())
            return reply

        return serve

    transport = InProcessTransport({name: watched(node) for name, node in nodes.items()})
    job = Job(plan, transport, folder / "job", lambda _: None, {}, members)
    with closing(transport), closing(job.journal):
        job.run()
        (scores,) = (one for one in job.scores() if one.split == "test" and one.kind == "federated")
        auroc = pooled(list(scores.scores.values())).estimate().value
        if auroc is None:
            raise SystemExit("this federation has no AUROC; give it more patients")
        return auroc, updates, job.models.layout, job.rounds()[-1].upload_bytes
