"""The proximal term acts, and without it FedProx is FedAvg to the last bit."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch.nn import functional

from protocol.plan import Plan
from protocol.vectors import Vector
from silo_node.training.cohort import load_cohort
from silo_node.training.device import pick_device
from silo_node.training.local import Trainer
from silo_node.training.model import SiloModel
from silo_node.training.objective import proximal_step
from tests.conftest import MakePlan, MakeStore


@pytest.fixture
def train(make_plan: MakePlan, make_store: MakeStore):
    store = make_store()

    def run(**changes: object) -> tuple[Vector, Vector]:
        plan: Plan = make_plan(**{"training.local_steps": 20} | changes)
        cohort = load_cohort(store, plan, store.path.parent / "cache")
        model = SiloModel(plan, cohort.input_shape, pick_device("cpu"))
        start = model.shared()
        Trainer(plan, cohort, model, "site").round(1, time.monotonic() + 60)
        return start, model.shared()

    return run


@pytest.mark.parametrize("optimizer", [{"name": "SGD", "lr": 0.05, "momentum": 0.9}, {"name": "Adam", "lr": 0.01}])
def test_the_larger_mu_the_nearer_the_local_model_stays(train, optimizer: dict[str, object]) -> None:
    distances = []
    for mu in (0.0, 1.0, 100.0, 1e6):
        start, end = train(**{"training.mu": mu, "training.optimizer": optimizer})
        distances.append(float(np.linalg.norm(end - start)))
    assert distances == sorted(distances, reverse=True)
    assert distances[1] < 0.95 * distances[0]
    assert distances[3] < 1e-3 * distances[0]


def test_without_mu_fedprox_is_fedavg_bit_for_bit(train) -> None:
    _, fedprox = train(**{"training.mu": 0.0, "federation.strategy": {"name": "FedProx"}})
    _, fedavg = train(**{"training.mu": 0.0, "federation.strategy": {"name": "FedAvg"}})
    assert fedprox.tobytes() == fedavg.tobytes()


def test_training_is_the_same_bits_every_time(train) -> None:
    assert train()[1].tobytes() == train()[1].tobytes()
    assert train()[1].tobytes() != train(seed=4)[1].tobytes()


def test_the_proximal_step_reaches_the_minimiser_of_fedprox_s_objective() -> None:
    """Oracle: gradient descent on loss + mu/2 |w - w0|^2 written out, on a convex problem with one minimum."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, 4, generator=generator), torch.randn(50, generator=generator)
    w0, mu, lr = torch.randn(4, generator=generator), 0.7, 0.05
    ours, written_out = w0.clone().requires_grad_(), w0.clone().requires_grad_()
    for _ in range(3000):
        (gradient,) = torch.autograd.grad(functional.mse_loss(x @ ours, y), ours)
        with torch.no_grad():
            ours -= lr * gradient
        proximal_step([ours], [w0], lr * mu)
        objective = functional.mse_loss(x @ written_out, y) + mu / 2 * ((written_out - w0) ** 2).sum()
        (gradient,) = torch.autograd.grad(objective, written_out)
        with torch.no_grad():
            written_out -= lr * gradient
    torch.testing.assert_close(ours, written_out, atol=1e-5, rtol=1e-5)


def test_personal_parts_are_not_held_back(train) -> None:
    """With an enormous mu only the personal head moves."""
    start, end = train(**{"training.mu": 1e6, "federation.personal": ["head"]})
    np.testing.assert_allclose(end, start, atol=1e-4)
