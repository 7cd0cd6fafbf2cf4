from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests import warm

POINTS = 24


def kill_and_resume(folder: Path, *words: str, points: int = POINTS) -> dict[str, Any]:
    script = Path(__file__).with_name("kill_points.py")
    done = warm.run(str(folder), str(points), *words, script=script, environment=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.slow(30)
@pytest.mark.parametrize(("words", "points"), [((), POINTS), (("top_k",), 12)], ids=("float32", "top_k"))
def test_a_job_killed_at_any_instant_resumes_and_ends_bit_identical(
    words: tuple[str, ...], points: int, tmp_path: Path
) -> None:
    result = kill_and_resume(tmp_path, *words, points=points)
    undisturbed = result["undisturbed"]
    assert len(result["ends"]) == points
    assert sum(end["killed"] for end in result["ends"]) >= points - 1
    repeated = 0
    for end in result["ends"]:
        for part in ("model", "scores", "rounds", "audit", "evidence"):
            assert end["end"][part] == undisturbed[part], f"killed at call {end['at']}: another {part}"
        repeated += end["end"]["attempts"] != undisturbed["attempts"]
    # The instants do fall inside rounds: several rounds had to be tried again.
    assert repeated >= points // 4


@pytest.mark.slow(30)
def test_a_job_of_sums_killed_at_any_instant_ends_with_the_same_sums(tmp_path: Path) -> None:
    """Updates are summed as integers, so model and sums are the same to the bit; a sum that was begun is not lost."""
    result = kill_and_resume(tmp_path, "summed", points=16)
    undisturbed = result["undisturbed"]
    assert sum(end["killed"] for end in result["ends"]) >= 15
    assert all(total is not None for _, _, _, total, *_ in undisturbed["scores"])
    for end in result["ends"]:
        for part in ("model", "scores", "audit", "evidence"):
            assert end["end"][part] == undisturbed[part], f"killed at call {end['at']}: another {part}"
    _, counts, sites, failures, unsummed = undisturbed["audit"]
    assert (sum(counts) > 0, sites, failures, unsummed) == (True, ["a", "b", "c"], {}, None)


@pytest.mark.slow(30)
@pytest.mark.parametrize("words", [("private",), ("private", "secure"), ("private", "summed")], ids=" and ".join)
def test_a_private_job_killed_at_any_instant_ends_and_every_release_was_charged_exactly_once(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    result = kill_and_resume(tmp_path, *words, points=10)
    assert sum(end["killed"] for end in result["ends"]) >= 9
    undisturbed = result["undisturbed"]
    assert undisturbed["covered"]
    assert all(len(releases) == len(set(releases)) == 8 for releases in undisturbed["charged"].values())
    repeated = 0
    for end in result["ends"]:
        found = end["end"]
        assert found["covered"], f"killed at call {end['at']}: something left that no ledger was charged for"
        assert found["charged"] == undisturbed["charged"], f"killed at call {end['at']}"
        assert found["receipts"] == undisturbed["receipts"]
        assert found["evidence"] == undisturbed["evidence"] == [["a", "b", "c"], {}, {}]
        assert found["sums"] == undisturbed["sums"], f"killed at call {end['at']}: another sum"
        repeated += found["attempts"] != undisturbed["attempts"]
    assert repeated >= 2
