"""Mechanism distributed: one global step a round from a sum that alone holds the whole noise."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from aggregator.job import Job
from privacy.guarantee import guarantee_of
from privacy.ledger import Ledger
from privacy.secure_aggregation.sizing import noise_share, sizing
from protocol.errors import PlanError, QuorumError
from protocol.messages import Request, TrainMasked
from protocol.plan import Plan
from tests.aggregator.test_secure_rounds import Wire, make
from tests.conftest import PRIVATE, tiny_plan

DISTRIBUTED: dict[str, Any] = {
    **PRIVATE,
    "privacy": {"mechanism": "distributed", "noise_multiplier": 2.0, "batch_patients": 5, "metrics_epsilon": 2.0},
    "training.local_steps": 1,
    "training.optimizer": {"name": "SGD", "lr": 1.0},
    "training.mu": 0.0,
    "federation.quorum": 3,
}


def plan(**changes: Any) -> Plan:
    privacy = DISTRIBUTED["privacy"] | changes.pop("privacy", {})
    return tiny_plan(**{**DISTRIBUTED, "privacy": privacy, **changes})


def empty_round_noise(folder: Path, lose: Any = lambda *_: False, rounds: int = 1) -> np.ndarray:
    """The update of a round in which nobody is sampled, in clip norms: pure noise of the sum."""
    wanted = plan(**{"federation.rounds": rounds}, privacy={"sampling_rate": 1e-4, "noise_multiplier": 8.0})
    job, _ = make(wanted, folder, lose=lose)
    with closing(job.journal):
        job.run()
        model = job.models.final()
        survivors = len(job.rounds()[0].aggregated)
    delta = model - job.models.initial
    return -delta * wanted.privacy.batch_patients * survivors  # type: ignore[union-attr]


def test_the_opened_sum_holds_at_least_the_whole_noise_and_not_much_more(tmp_path: Path) -> None:
    """Four hospitals, of which U - c = 2 honest ones make up the noise: all four together carry sqrt(2) of it."""
    noise = empty_round_noise(tmp_path)
    assert np.std(noise) == pytest.approx(8.0 * np.sqrt(2.0), rel=6 / np.sqrt(2 * noise.size))


def test_a_hospital_that_falls_silent_leaves_enough_noise(tmp_path: Path) -> None:
    def lose(silo: str, request: Request) -> bool:
        return silo == "s1" and isinstance(request, TrainMasked)

    noise = empty_round_noise(tmp_path, lose)
    share_of_three = 8.0 * np.sqrt(3.0 / 2.0)
    assert np.std(noise) == pytest.approx(share_of_three, rel=6 / np.sqrt(2 * noise.size))
    assert share_of_three > 8.0


def test_a_share_is_made_for_the_fewest_honest_survivors() -> None:
    wanted = plan()
    for n in (3, 4, 7, 10, 50):
        size = sizing(wanted, n)
        assert size.min_survivors >= 2 * n // 3 + 1
        assert size.colluders == (n - 1) // 3

        class Agreed:
            min_survivors, colluders = size.min_survivors, size.colluders

        share = noise_share(2.0, Agreed)  # type: ignore[arg-type]
        honest = size.min_survivors - size.colluders
        assert share * np.sqrt(honest) == pytest.approx(2.0)


def test_each_round_is_charged_once_at_each_hospital_as_all_patients_together_would_be(tmp_path: Path) -> None:
    wanted = plan()
    job, _ = make(wanted, tmp_path)
    with closing(job.journal):
        job.run()
    entries = Ledger.open(tmp_path / "state0" / "ledger.jsonl").entries
    rounds = [entry.release for entry in entries if entry.part == "train"]
    assert rounds == ["round/1/0", "round/2/0", "round/3/0"]
    assert not list((tmp_path / "state0").rglob("*key*release"))
    assert guarantee_of(wanted).steps == 3


def test_a_repeated_round_is_a_fresh_sample_and_is_paid_from_the_spare_rounds_until_they_end(tmp_path: Path) -> None:
    def lose(silo: str, request: Request) -> bool:
        return (
            silo in ("s1", "s2")
            and isinstance(request, TrainMasked)
            and request.address.round == 1
            and request.address.attempt < 2
        )

    spare = plan(privacy={"spare_rounds": 1})
    assert guarantee_of(spare).epsilon_by_part["train"] > guarantee_of(plan()).epsilon_by_part["train"]
    job, wire = make(spare, tmp_path, lose=lose)
    nodes = wire._inner._handlers
    with closing(job.journal), pytest.raises(QuorumError):
        job.run()
    second = Job(spare, Wire(nodes, lose), tmp_path / "job", lambda _: None, {}, job._members)
    with closing(second.journal), pytest.raises(QuorumError):
        second.run()
    third = Job(spare, Wire(nodes, lose), tmp_path / "job", lambda _: None, {}, job._members)
    with closing(third.journal), pytest.raises(QuorumError, match="spare_rounds"):
        third.run()  # two attempts and two rounds were paid for at s0; the last of three rounds is not
    releases = [entry.release for entry in Ledger.open(tmp_path / "state0" / "ledger.jsonl").entries if entry.part == "train"]
    assert releases == ["round/1/0", "round/1/1", "round/1/2", "round/2/0"]


def test_a_plan_under_which_a_share_of_noise_would_be_too_little_is_refused() -> None:
    for key, value, says in [
        ("training.local_steps", 2, "one step"),
        ("training.optimizer", {"name": "SGD", "lr": 1.0, "momentum": 0.9}, "FedAvgM"),
        ("training.optimizer", {"name": "Adam", "lr": 1.0}, "FedAvgM"),
        ("federation.personal", ["head"], "too little"),
        ("training.mu", 0.1, "cannot drift"),
    ]:
        with pytest.raises(ValidationError, match=says):
            plan(**{key: value})
    with pytest.raises(ValidationError, match="secure_aggregation"):
        plan(privacy={"secure_aggregation": False})
    with pytest.raises(PlanError, match="take 64"):
        sizing(plan(privacy={"batch_patients": 1000}), 4)
    assert sizing(plan(privacy={"batch_patients": 1000, "width_bits": 64}), 4).width_bits == 64


def test_the_step_is_the_mean_clipped_gradient_of_all_hospitals_patients(tmp_path: Path) -> None:
    """Full sampling and almost no noise: against a loop over every hospital's patients."""
    import torch
    from torch.nn import functional

    from protocol.network import build_network
    from silo_node.cohort import CohortStore
    from silo_node.training.cohort import load_cohort

    wanted = plan(
        **{"federation.rounds": 1, "data.augmentation": [], "network.args.dropout": 0.0},
        privacy={"noise_multiplier": 0.05, "sampling": "full", "clip_norm": 0.5},
    )
    job, _ = make(wanted, tmp_path)
    with closing(job.journal):
        job.run()
        delta = job.models.final() - job.models.initial
    network, total = build_network(wanted).train(), np.zeros(job.models.layout.size)
    for number in range(4):
        cohort = load_cohort(CohortStore.open(tmp_path / f"s{number}"), wanted, tmp_path / "cache")
        train = np.array(cohort.parts.train)
        for patient in np.unique(cohort.patients[train]):
            rows = train[cohort.patients[train] == patient]
            network.zero_grad()
            images, labels = torch.from_numpy(cohort.images[rows]), torch.from_numpy(cohort.labels[rows])
            functional.cross_entropy(network(images), labels).backward()
            flat = job.models.layout.flatten({n: p.grad.numpy() for n, p in network.named_parameters() if p.grad is not None})
            total += flat * min(1.0, 0.5 / float(np.linalg.norm(flat)))
    expected = -total / (5 * 4)
    noise = 0.05 * np.sqrt(2.0) * 0.5 / (5 * 4)
    assert np.std(delta - expected) == pytest.approx(noise, rel=0.3)
    assert np.linalg.norm(expected) > 5 * noise * np.sqrt(expected.size)
