"""Private rounds do not depend on the network or the loss: whole jobs with MONAI's DenseNet121 and ResNet."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.job import Job
from protocol.network import build_network
from protocol.plan import Plan
from protocol.transport.in_process import InProcessTransport
from tests.conftest import PRIVATE, tiny_node, tiny_plan, tiny_store

IN_OUT = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}
NETWORKS: dict[str, dict[str, Any]] = {
    "DenseNet121": {"name": "DenseNet121", "args": IN_OUT, "norm": "group"},
    "resnet18": {"name": "resnet18", "args": {"spatial_dims": 2, "n_input_channels": 1, "num_classes": 2}, "norm": "group"},
}


def run(plan: Plan, folder: Path) -> np.ndarray:
    nodes = {
        name: tiny_node(name, tiny_store(folder / name, n=16, seed=seed), folder / f"{name}-state")
        for seed, name in enumerate("ab")
    }
    job = Job(plan, InProcessTransport(nodes), folder / "job", lambda _: None)
    with closing(job.journal):
        job.run()
        return job.models.final()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("loss", [{}, {"label_smoothing": 0.2, "class_weights": [1.0, 3.0]}], ids=["plain", "weighted"])
def test_a_private_job_runs_end_to_end_with(name: str, loss: dict[str, Any], tmp_path: Path) -> None:
    preprocessing = [{"name": "Resize", "args": {"spatial_size": [32, 32]}}]
    changes = {"data.preprocessing": preprocessing, "training.local_steps": 1, "federation.rounds": 1, "training.loss": loss}
    plan = tiny_plan(**{**PRIVATE, **changes}, network=NETWORKS[name])
    model = run(plan, tmp_path)
    assert np.isfinite(model).all()
    assert model.size == sum(parameter.numel() for parameter in build_network(plan).parameters())


def test_the_moving_average_of_the_rounds_is_what_is_kept_and_a_plan_without_it_keeps_the_last(tmp_path: Path) -> None:
    """Free post-processing: after three rounds with decay d it is d (d m1 + (1-d) m2) + (1-d) m3."""
    plan = tiny_plan(**PRIVATE, **{"federation.ema": 0.5})
    nodes = {
        name: tiny_node(name, tiny_store(tmp_path / name, seed=seed), tmp_path / f"{name}-state")
        for seed, name in enumerate("ab")
    }
    job = Job(plan, InProcessTransport(nodes), tmp_path / "job", lambda _: None)
    seen: list[np.ndarray] = []
    commit = job.journal.commit

    def spy(record: Any, model: np.ndarray, state: Any, keep: int) -> None:
        seen.append(model.copy())
        commit(record, model, state, keep)

    job.journal.commit = spy  # type: ignore[method-assign]
    with closing(job.journal):
        job.run()
        expected = 0.5 * (0.5 * seen[0] + 0.5 * seen[1]) + 0.5 * seen[2]
        assert np.allclose(job.models.final(), expected, atol=1e-6)
        assert not np.allclose(job.models.final(), seen[2], atol=1e-4)
