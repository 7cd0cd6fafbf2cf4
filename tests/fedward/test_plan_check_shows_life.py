"""`fedward plan check` takes seconds: where a person looks at it, something moves; where a program reads it, nothing does."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import warm
from tests.conftest import TINY


def check(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key not in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE")}
    return warm.run("plan", "check", str(path), "--shallow", "--json", environment=clean | environment)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps(TINY))
    return path


def test_a_terminal_sees_what_is_being_done_and_standard_output_stays_json(plan: Path) -> None:
    done = check(plan, FORCE_COLOR="1", TERM="xterm")  # how rich is told that this is a terminal
    assert done.returncode == 0, done.stderr
    assert "computing what it promises patients" in done.stderr
    assert json.loads(done.stdout)["valid"] is True


def test_a_pipe_sees_nothing_of_it(plan: Path) -> None:
    done = check(plan)
    assert done.returncode == 0
    assert done.stderr == ""


def test_an_error_is_told_after_the_terminal_is_cleared(plan: Path) -> None:
    plan.write_text(json.dumps({**TINY, "sed": 1}))
    done = check(plan, FORCE_COLOR="1", TERM="xterm")
    assert done.returncode != 0
    assert "PlanError" in done.stderr.rsplit("\x1b[?25h")[-1]  # the cursor is back before it
    assert "did you mean `seed`?" in done.stderr
