"""A job, a second one whose plan names the first one's model, and what the terminal says of the two, from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.comparison import PAIRED
from tests.conftest import PRIVATE, TINY, tiny_store
from tests.fedward.test_cli import fedward

pytestmark = pytest.mark.slow
SILOS = ("east", "north", "south")


def plan(path: Path, rounds: int, **audit: Any) -> Path:
    value = TINY | {
        "evaluation": {"alone": False, "audit": {"attributes": ["sex"], "bins": 32, **audit}},
        "data": TINY["data"] | {"preprocessing": PRIVATE["data.preprocessing"]},  # a fixed size, for plan check
        "federation": TINY["federation"] | {"rounds": rounds, "quorum": 3},
        "privacy": {"mechanism": "none", "secure_aggregation": True},
    }
    path.write_text(json.dumps(value))
    return path


def test_two_jobs_are_paired_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDWARD_WEIGHTS", str(tmp_path / "weights"))
    for seed, name in enumerate(SILOS):
        tiny_store(tmp_path / name, seed=seed, n=240, sex="F" if seed else "M")
    silos = [f"--silo={name}={tmp_path / name}" for name in SILOS]
    done = fedward("run", plan(tmp_path / "a.yaml", 1), *silos, "--out", tmp_path / "a", "--accept-no-dp")
    assert done.returncode == 0, done.stderr
    added = fedward("weights", "add", tmp_path / "a" / "model.safetensors")
    named = added.stdout.split("compare_with: ")[1].strip()

    second = plan(tmp_path / "b.yaml", 4, compare_with=named)
    checked = fedward("plan", "check", second)
    assert checked.returncode == 0, checked.stderr
    assert f"beside another model on the same images, {named[:19]}" in " ".join((checked.stdout + checked.stderr).split())
    done = fedward("run", second, *silos, "--out", tmp_path / "b", "--accept-no-dp")
    assert done.returncode == 0, done.stderr
    assert "Beside another model" in (tmp_path / "b" / "report.html").read_text(encoding="utf-8")

    found = {}
    for order in ("ab", "ba"):
        done = fedward("audit", "compare", *(tmp_path / name for name in order), "--json")
        assert done.returncode == 0, done.stderr
        assert "Rows marked paired" in done.stderr
        rows = json.loads(done.stdout.splitlines()[-1])["figures"]
        found[order] = next(row for row in rows if (row["attribute"], row["figure"]) == ("all", "auroc"))
    assert found["ab"]["method"] == found["ba"]["method"] == PAIRED
    assert found["ab"]["difference"]["value"] == -found["ba"]["difference"]["value"]
    done = fedward("audit", "verify", tmp_path / "b" / "evidence", "--keys", tmp_path / "b" / "evidence" / "site-keys.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "as the report says" in " ".join((done.stdout + done.stderr).split())


def test_a_plan_whose_model_is_nowhere_fails_the_check_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDWARD_WEIGHTS", str(tmp_path / "weights"))
    done = fedward("plan", "check", plan(tmp_path / "a.yaml", 1, compare_with="sha256:" + "0" * 64))
    assert done.returncode == 2
    assert "fedward weights add" in " ".join(done.stderr.split())
