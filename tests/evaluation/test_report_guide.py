"""docs/report.md: what it tells an auditor to run does what it says."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from evaluation.report.build import build_report
from evaluation.report.write import write_report
from tests.evaluation.made_up_runs import make_summary

GUIDE = Path(__file__).parents[2] / "docs" / "report.md"


def recipes() -> list[str]:
    _, section = GUIDE.read_text(encoding="utf-8").split("## Check the digests", 1)
    return re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)


def run_recipe(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.chdir(folder)
    exec(compile(code, str(GUIDE), "exec"), {})
    return capsys.readouterr().out.strip()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_the_plan_s_digest_can_be_computed_from_the_report(tmp_path, monkeypatch, capsys):
    report = build_report(make_summary({"a": 40}, n_rounds=1))
    write_report(report, tmp_path)
    assert run_recipe(recipes()[1], tmp_path, monkeypatch, capsys) == report["plan"]["digest"]


def test_the_model_s_digest_can_be_computed_from_the_file(tmp_path, monkeypatch, capsys):
    tensors = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.full(4, 0.5, np.float32)}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"order": '["b", "a"]'})
    expected = hashlib.sha256(tensors["b"].tobytes() + tensors["a"].tobytes()).hexdigest()
    assert run_recipe(recipes()[0], tmp_path, monkeypatch, capsys) == f"sha256:{expected}"
