from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

POINTS = 24


@pytest.mark.slow
def test_a_job_killed_at_any_instant_resumes_and_ends_bit_identical(tmp_path: Path) -> None:
    script = Path(__file__).with_name("kill_points.py")
    command = [sys.executable, str(script), str(tmp_path), str(POINTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    undisturbed = result["undisturbed"]
    assert len(result["ends"]) == POINTS
    assert sum(end["killed"] for end in result["ends"]) >= POINTS - 1
    repeated = 0
    for end in result["ends"]:
        for part in ("model", "scores", "rounds"):
            assert end["end"][part] == undisturbed[part], f"killed at call {end['at']}: another {part}"
        repeated += end["end"]["attempts"] != undisturbed["attempts"]
    # The instants do fall inside rounds: several rounds had to be tried again.
    assert repeated >= POINTS // 4
