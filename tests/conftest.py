"""Fixtures: small cohort stores and a small plan, so that a whole job runs in about a second."""

from __future__ import annotations

import copy
import json
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings

from protocol.plan import Plan
from silo_node.cohort import CohortStore, StoreWriter
from silo_node.governance.approvals import ApprovedLocally
from silo_node.policy import Policy
from tests.order import dealt

if TYPE_CHECKING:
    from silo_node.node import SiloNode  # and with it torch and MONAI: four seconds before the first worker of xdist starts

# How long an example takes says more about the machine than about the code.
settings.register_profile("fedward", deadline=None)
settings.load_profile("fedward")

# A runner that was started in the background ignores Ctrl-C, and so would everything it starts; tests of Ctrl-C need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What silos keep of their ledgers outlives a run; that of the tests does not outlive the tests.
os.environ["FEDWARD_HOME"] = tempfile.mkdtemp(prefix="fedward-tests-")


@pytest.hookimpl(trylast=True)  # after those that mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first, at every worker: `slow(30)` takes half a minute, `slow` some ten seconds."""

    def seconds(item: pytest.Item) -> float:
        mark = item.get_closest_marker("slow")
        return 0.0 if mark is None else float(*mark.args or (10.0,))

    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = dealt(items, seconds, lambda item: item.nodeid.partition("::")[0], workers)


@pytest.fixture(scope="session", autouse=True)
def _every_report_is_of_the_schema():
    """Whatever test writes a report, in this process, also holds it to evaluation/report/report.schema.json."""
    from jsonschema import Draft202012Validator

    from evaluation.report import write
    from evaluation.report.schema import schema

    render, validator = write.render_html, Draft202012Validator(schema())

    def checked(report):
        page = render(report)
        problems = [f"{'/'.join(map(str, one.absolute_path))}: {one.message}" for one in validator.iter_errors(report)]
        assert not problems, f"not of report.schema.json: {problems[:5]}"
        return page

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "render_html", checked)
        yield


SIZE = 16

TINY: dict[str, Any] = {
    "schema": "fedward.plan/1",
    "name": "tiny",
    "seed": 3,
    "task": {"kind": "classification", "target": "finding", "classes": ["0", "1"]},
    "data": {
        "channels": 1,
        "split": {"test_fraction": 0.3, "validation_fraction": 0.2},
        "preprocessing": [{"name": "NormalizeIntensity", "args": {"subtrahend": 0.5, "divisor": 0.25}}],
        "augmentation": [{"name": "RandFlip", "args": {"prob": 0.5, "spatial_axis": 1}}],
    },
    "network": {
        "name": "Classifier",
        "args": {
            "in_shape": [1, SIZE, SIZE],
            "classes": 2,
            "channels": [4, 8],
            "strides": [2, 2],
            "num_res_units": 0,
            "norm": ["group", {"num_groups": 2}],
            "dropout": 0.1,
        },
    },
    "training": {"mu": 0.1, "local_steps": 3, "batch_size": 8, "optimizer": {"name": "SGD", "lr": 0.05, "momentum": 0.9}},
    "federation": {"rounds": 3, "quorum": 2, "strategy": {"name": "FedProx"}, "round_deadline_s": 60.0},
    "evaluation": {"alone": True},
    "privacy": {"mechanism": "none", "secure_aggregation": False},
}
"""Two silos are enough for it, and each update can be looked at; tests of secure aggregation turn that on."""

PRIVATE: dict[str, Any] = {
    "evaluation": {"alone": False},
    "data.preprocessing": [
        {"name": "Resize", "args": {"spatial_size": [SIZE, SIZE]}},
        {"name": "NormalizeIntensity", "args": {"subtrahend": 0.5, "divisor": 0.25}},
    ],
    "federation.weighting": "uniform",
    "privacy": {
        "mechanism": "local",
        "noise_multiplier": 2.0,
        "batch_patients": 5,
        "sampling_rate": 0.5,
        "metrics_epsilon": 2.0,
        "secure_aggregation": False,
    },
}
"""What makes the tiny plan private: `tiny_plan(**PRIVATE)`."""

GENEROUS = Policy(allow_without_privacy=True, min_patients=1, max_epsilon_per_study=1e3, max_epsilon_total=1e4)

MakePlan = Callable[..., Plan]
MakeStore = Callable[..., CohortStore]


def tiny_plan(**changes: Any) -> Plan:
    """The tiny plan with some values replaced: `tiny_plan(**{"training.mu": 1.0})`."""
    value = copy.deepcopy(TINY)
    for path, new in changes.items():
        *parents, last = path.split(".")
        part = value
        for parent in parents:
            part = part.setdefault(parent, {})
        if new is None:
            part.pop(last, None)
        else:
            part[last] = new
    return Plan.model_validate_json(json.dumps(value))


def tiny_node(name: str, store: CohortStore, state: Path, policy: Policy = GENEROUS) -> SiloNode:
    """A node that allows everything; its ledger lies in `state`."""
    from silo_node.node import SiloNode

    return SiloNode(name, store, state, policy=policy, ledger=state / "ledger.jsonl", approvals=ApprovedLocally(), device="cpu")


def tiny_store(
    path: Path, *, n: int = 40, prevalence: float = 0.4, seed: int = 0, target: str = "finding", **attributes: Any
) -> CohortStore:
    """A store of `n` images, two per patient, in which positives have a brighter square; a hospital that allows everything."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.policy.yaml").write_text(json.dumps(GENEROUS.model_dump(mode="json", by_alias=True)))
    rng = np.random.default_rng(seed)
    writer = StoreWriter.create(path)
    for index in range(0, n, 2):
        positive = rng.random() < prevalence
        for _ in range(2):
            image = rng.random((1, SIZE, SIZE), dtype=np.float32) * 0.6
            if positive:
                image[:, 4:9, 4:9] += 0.3
            writer.add(image, patient=f"{seed}-{index}", labels={target: str(int(positive))}, **attributes)
    return writer.finish()


@pytest.fixture
def make_plan() -> MakePlan:
    return tiny_plan


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    def make(name: str = "store", **kwargs: Any) -> CohortStore:
        return tiny_store(tmp_path / name, **kwargs)

    return make
