"""The benchmark that puts the private mechanisms beside each other measures what a run would do."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from privacy.clipping import SCALE
from privacy.noise import discrete_gaussian
from privacy.randomness import SecureBits, sample_patients
from privacy.step import PrivateStep
from protocol.plan import Plan
from tests import warm
from tests.privacy.fixed_bits import fix

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "dp_utility_digits.py"
KEY = (2.0, 4)


def _load(part: str = "") -> Any:
    """One module of the benchmark, found as when it is run, but after everything that is installed."""
    sys.path.append(str(FILE.parent))
    try:
        return importlib.import_module(FILE.stem + part)
    finally:
        sys.path.remove(str(FILE.parent))


digits, figures, hospitals, rounds = _load(), _load("_figures"), _load("_hospitals"), _load("_rounds")


def row(name: str, arrangement: str) -> Any:
    return next(row for row in digits.ROWS if row.name == name and arrangement in row.arrangements)


def plan_of(row: Any) -> Plan:
    return rounds.plan_of(row, 4, 2.0, 0.1, 1437)


def network(weights: torch.Tensor) -> nn.Module:
    """The same network as torch builds it."""
    layers = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    with torch.no_grad():
        for parameter, part in zip(layers.parameters(), hospitals._layers(weights), strict=True):
            parameter.copy_(part.t())
    return layers


def test_a_sum_is_that_of_the_private_step_that_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    fix(monkeypatch)
    plan, weights = plan_of(row("distributed", rounds.SIMULATED)), torch.from_numpy(hospitals.first_weights(3)) * 5.0
    (site, *_), _ = hospitals.hospitals(4, 3)
    key = bytes(range(32))
    ours = rounds.clipped(plan, weights, site, SecureBits.from_key(key))

    def batch(patient: int, _: SecureBits) -> tuple[torch.Tensor, torch.Tensor]:
        image = site[[patient]]
        return image.pixels, image.labels

    step = PrivateStep(rounds.CLIP_NORM, 1.0, 0.1, 1)
    theirs = step.sum(network(weights), functional.cross_entropy, len(site), batch, SecureBits.from_key(key))
    sizes = [(32, 64), (32,), (10, 32), (10,)]
    parts = np.split(theirs.integers(), np.cumsum([np.prod(size) for size in sizes])[:-1])
    transposed = [part.reshape(size).T.reshape(-1) for part, size in zip(parts, sizes, strict=True)]
    sampled = len(sample_patients(len(site), 0.1, SecureBits.from_key(key)))
    difference = ours.integers() - np.concatenate(transposed)
    assert np.abs(ours.integers()).max() > SCALE / 10
    assert np.abs(difference).max() <= sampled  # float32 in another order: a grid step a patient


@pytest.mark.parametrize(("arrangement", "needed"), [(rounds.SIMULATED, 4), (rounds.FEDWARD, 3)])
def test_the_opened_sum_holds_every_share_of_the_noise(monkeypatch: pytest.MonkeyPatch, arrangement: str, needed: int) -> None:
    fix(monkeypatch)
    shared = row("distributed", arrangement)
    plan = plan_of(shared)
    nobody = [site[:0] for site in hospitals.hospitals(4, 0)[0]]
    share = rounds.share_of(shared, plan, 3.6, 4)
    sums = [rounds.opened_sum(plan, share, hospitals.first_weights(0), nobody, SecureBits()) for _ in range(10)]
    expected = 3.6 * (4 / needed) ** 0.5  # in clip norms; a missing share would be 13 % less
    assert np.std(np.concatenate(sums)) / SCALE == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("name", "width"), [("distributed", 32), ("distributed, sampling full", 64)])
def test_the_opened_sum_is_the_sum_of_what_each_hospital_masks(name: str, width: int) -> None:
    plan, model = plan_of(row(name, rounds.SIMULATED)), hospitals.first_weights(0)
    sites, _ = hospitals.hospitals(4, 0)
    opened = rounds.opened_sum(plan, 1.8, model, sites, SecureBits.from_key(bytes(32)))
    bits, whole = SecureBits.from_key(bytes(32)), np.zeros(hospitals.SIZE, dtype=np.int64)
    for site in sites:
        whole += rounds.clipped(plan, torch.from_numpy(model), site, bits).integers()
        whole += discrete_gaussian(hospitals.SIZE, 1.8 * SCALE, bits)
    assert opened.dtype.itemsize * 8 == width
    assert np.array_equal(opened, whole)
    assert (whole < 0).any()  # they travel modulo 2^width


def test_a_local_update_without_noise_to_speak_of_goes_downhill_and_the_proximal_term_holds_it_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fix(monkeypatch)
    free, held = (row(f"local, 5 steps, {name}", rounds.FEDWARD) for name in ("FedAvg", "FedProx"))
    (site, *_), _ = hospitals.hospitals(4, 0)
    model = hospitals.first_weights(0)
    strong = replace(held, mu=20.0)
    updates = [rounds.local_update(plan_of(one), 0.01, 10.0, model, site, SecureBits()) for one in (free, strong)]
    assert hospitals.accuracy(model + updates[0], site) > hospitals.accuracy(model, site) + 0.1
    assert np.linalg.norm(updates[1]) < 0.5 * np.linalg.norm(updates[0])


def test_every_patient_is_at_one_hospital_or_tested() -> None:
    sites, test = hospitals.hospitals(10, 1)
    rows = torch.cat([test.pixels, *(site.pixels for site in sites)])
    assert len(rows) == 1797
    whole = torch.cat([images.pixels for images in (hospitals.hospitals(1, 0)[0][0], hospitals.hospitals(1, 0)[1])])
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, whole.tolist()))
    assert len({len(site) for site in sites}) > 3  # unlike


def cell(name: str, by_seed: tuple[float, ...], key: tuple[float, int] = KEY) -> Any:
    return figures.Cell(row(name, rounds.FEDWARD), key, 1.0, 0.1, by_seed)


def test_a_pair_that_the_simulation_tells_apart_must_come_in_the_same_order() -> None:
    cells = [cell("distributed", (0.91, 0.90)), cell("local, 1 step", (0.92, 0.91)), cell("local, 5 steps, FedAvg", (0.8, 0.8))]
    found = figures.verdict(cells, rounds.FEDWARD)
    assert (found["pairs"], found["kept"]) == (3, 1)
    assert [order["measured"] for order in found["not_kept"]] == [-0.01, -0.115]
    assert len(found["off"]) == 3


def test_a_pair_within_a_hundredth_is_no_order() -> None:
    cells = [cell("local, 5 steps, FedAvg", (0.8,)), cell("local, 5 steps, FedProx", (0.9,))]
    assert figures.verdict(cells, rounds.FEDWARD)["pairs"] == 0


@pytest.mark.slow
def test_the_quick_benchmark_ends_in_one_json_object_with_every_row() -> None:
    done = warm.run("--quick", "--json", script=FILE)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["benchmark"] == "dp_utility_digits"
    assert [entry["row"] for entry in found["cells"]] == [row.name for row in digits.ROWS]
    assert all(0.1 < entry["accuracy"] <= 1.0 for entry in found["cells"])
    assert "sampling full" in done.stderr
