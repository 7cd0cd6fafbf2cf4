"""Every exit code of `fedward audit report` and `verify`, each from a job that was run, under the plan's usual margins."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from silo_node.cohort import StoreWriter
from tests.conftest import GENEROUS, SIZE, TINY
from tests.fedward.test_cli import fedward

pytestmark = pytest.mark.slow

PLAN: dict[str, Any] = copy.deepcopy(TINY) | {
    "name": "codes",
    "evaluation": {"alone": False, "every": 6, "audit": {"attributes": ["sex"]}},
    # Label smoothing: without it the scores of this network are a little too sure of themselves, slope 0.88.
    "training": {**TINY["training"], "mu": 0.0, "local_steps": 60, "batch_size": 64, "loss": {"label_smoothing": 0.03}},
}
PLAN["data"] |= {"split": {"test_fraction": 0.45, "validation_fraction": 0.1}, "augmentation": []}
PLAN["training"]["schedule"] = {"name": "cosine", "final_factor": 0.05}
PLAN["federation"]["rounds"] = 6
PLAN["network"]["args"] |= {"dropout": 0.0}


def store(path: Path, n: int, *, brighter: float, seed: int) -> str:
    """A hospital of `n` patients, half of them women, 40% ill; `brighter`: how well the illness shows."""
    path.with_name(f"{path.name}.policy.yaml").write_text(json.dumps(GENEROUS.model_dump(mode="json", by_alias=True)))
    rng, writer = np.random.default_rng(seed), StoreWriter.create(path)
    for index in range(n):
        ill = rng.random() < 0.4
        image = rng.random((1, SIZE, SIZE), dtype=np.float32) * 0.6
        if ill:
            image[:, 4:9, 4:9] += np.float32(brighter)
        writer.add(image, patient=f"{seed}-{index}", labels={"finding": str(int(ill))}, sex="F" if index % 2 else "M")
    writer.finish()
    return f"--silo={path.name}={path}"


def job(folder: Path, *silos: str) -> Path:
    (folder / "plan.yaml").write_text(json.dumps(PLAN))
    done = fedward("run", folder / "plan.yaml", *silos, "--out", folder / "out", "--accept-no-dp", "--threads", "1")
    assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def north(tmp_path_factory: pytest.TempPathFactory) -> str:
    return store(tmp_path_factory.mktemp("stores") / "north", 5000, brighter=0.07, seed=1)


@pytest.fixture(scope="module")
def fair(tmp_path_factory: pytest.TempPathFactory, north: str) -> Path:
    """Two hospitals that are alike, with some 900 ill test patients each."""
    folder = tmp_path_factory.mktemp("fair")
    return job(folder, north, store(folder / "south", 5000, brighter=0.07, seed=2))


def report(out: Path) -> tuple[int, str]:
    done = fedward("audit", "report", out, "--json")
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["exit_code"] == done.returncode
    return done.returncode, "; ".join(one["what"] for one in found["reasons"])


def verify(out: Path) -> int:
    return fedward("audit", "verify", out / "evidence", "--keys", out / "evidence" / "site-keys.json").returncode


def test_a_job_that_serves_all_alike_and_has_patients_enough_to_show_it_exits_with_0(fair: Path) -> None:
    code, said = report(fair)
    assert code == 0, said
    assert "every gap that was tested is within its margin" in said
    assert verify(fair) == 0


def test_a_job_that_serves_one_hospital_worse_exits_with_1(tmp_path: Path, north: str) -> None:
    code, said = report(job(tmp_path, north, store(tmp_path / "faint", 5000, brighter=0.025, seed=3)))
    assert code == 1
    assert "AUROC of 1 by site differs" in said
    assert "faint to north" in said


def test_a_job_of_few_patients_exits_with_2_however_alike_they_are(tmp_path: Path) -> None:
    silos = [store(tmp_path / f"small-{seed}", 80, brighter=0.07, seed=seed) for seed in (4, 5)]
    code, said = report(job(tmp_path, *silos))
    assert code == 2
    assert "cannot be told from their margins" in said


def test_the_fair_job_with_one_bit_turned_exits_with_3(fair: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(fair, out)
    path = out / "evidence" / "receipts" / "north.jsonl"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert report(out)[0] == 3
    assert verify(out) == 3
