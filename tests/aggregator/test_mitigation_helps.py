"""What the weights do for a hospital that the model serves badly: figures of benchmarks/mitigation.py, and one whole job."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from aggregator.job import Job
from protocol.transport.in_process import InProcessTransport
from silo_node.cohort import CohortStore, StoreWriter
from tests.conftest import SIZE, tiny_node, tiny_plan

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "mitigation.py"
SEEDS = 3


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """By its path: installed packages may be called benchmarks too."""
    spec = importlib.util.spec_from_file_location("mitigation_benchmark", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def odd(benchmark: ModuleType) -> dict[str, dict[str, Any]]:
    """One of five hospitals has another label relation."""
    return {row["plan"]: row for row in benchmark.weighted(SEEDS, odd=True, validated=200)}


@pytest.mark.parametrize("plan", ["q_ffl, q 2", "worst_site, rate 2"])
def test_the_worst_hospital_gains_over_seeds(plan: str, odd: dict[str, Any]) -> None:
    assert odd[plan]["worst_auroc_change"]["lo"] > 0.015
    assert odd[plan]["worst_loss_change"]["hi"] < -0.02


def test_more_q_helps_the_worst_more_and_costs_the_mean(odd: dict[str, Any]) -> None:
    gains = [odd[plan]["worst_auroc_change"]["mean"] for plan in ("q_ffl, q 0.5", "q_ffl, q 1", "q_ffl, q 2", "q_ffl, q 5")]
    assert gains == sorted(gains)
    assert -0.03 < odd["q_ffl, q 5"]["mean_auroc_change"]["mean"] < 0.0


def test_where_hospitals_are_alike_hardly_anything_changes(benchmark: ModuleType) -> None:
    for row in benchmark.weighted(SEEDS, odd=False, validated=30, names=("uniform", "q_ffl, q 5", "worst_site, rate 2")):
        assert abs(row["worst_auroc_change"]["mean"]) < 0.005
        assert abs(row["mean_auroc_change"]["mean"]) < 0.005


def test_maps_made_at_home_mend_levels_and_bring_a_wanted_sensitivity(benchmark: ModuleType) -> None:
    found = benchmark.at_home(SEEDS, shifts=(-2.0, -1.0, 0.0, 1.0, 2.0), validated=200)
    assert found["platt/worst_log_observed_expected"] < 0.3 * found["none/worst_log_observed_expected"]
    assert found["platt/mean_loss"] < found["none/mean_loss"] - 0.05
    assert found["own/sensitivity"] == pytest.approx(0.9, abs=0.03)
    assert found["half/sensitivity"] < 0.85


# ------------------------------------------------------------------------------------------------------------- a whole job


def store(path: Path, seed: int, *, turned: bool, n: int = 120) -> CohortStore:
    """Positives have a brighter square; `turned`: a darker one, against the other hospitals."""
    rng = np.random.default_rng(seed)
    writer = StoreWriter.create(path)
    for index in range(n):
        label = int(rng.random() < 0.5)
        image = 0.3 + rng.random((1, SIZE, SIZE), dtype=np.float32) * 0.4
        image[:, 4:9, 4:9] += (-0.25 if turned else 0.25) * label
        writer.add(image, patient=f"{seed}-{index}", labels={"finding": str(label)})
    return writer.finish()


def worst_loss(folder: Path, stores: dict[str, CohortStore], **weighting: Any) -> tuple[float, dict[str, float]]:
    """The odd hospital's test loss under the final model, and the weights of the third round."""
    usual = {"evaluation": {"alone": False, "every": 2}, "federation.rounds": 8, "data.augmentation": []}
    split = {"data.split": {"test_fraction": 0.3, "validation_fraction": 0.3}, "training.local_steps": 5}
    nodes = {name: tiny_node(name, one, folder / name) for name, one in stores.items()}
    job = Job(tiny_plan(**usual | split | weighting), InProcessTransport(nodes), folder / "job", lambda _: None)
    with closing(job.journal):
        job.run()
        (test,) = [one.scores for one in job.scores() if one.split == "test"]
        return test["odd"].loss, job.rounds()[2].weights


def test_in_a_whole_job_the_odd_hospital_weighs_most_and_its_loss_falls(tmp_path: Path) -> None:
    stores = {f"s{i}": store(tmp_path / f"store{i}", i, turned=False) for i in range(3)}
    stores["odd"] = store(tmp_path / "store-odd", 9, turned=True)
    equal, _ = worst_loss(tmp_path / "equal", stores, **{"federation.weighting": "uniform"})
    q_ffl = {"federation.weighting": "q_ffl", "federation.fairness_q": 3.0, "federation.fairness_loss_bound": 1.0}
    worst = {"federation.weighting": "worst_site", "federation.fairness_measure": "loss", "federation.fairness_rate": 5.0}
    for name, weighting in (("q", q_ffl), ("w", worst)):
        found, weights = worst_loss(tmp_path / name, stores, **weighting)
        assert max(weights, key=lambda silo: weights[silo]) == "odd"
        assert found < 0.8 * equal
