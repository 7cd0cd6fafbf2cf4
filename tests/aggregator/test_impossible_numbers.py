"""Numbers that no training and no model has: the hospital that sends them is left out by name, and the others finish."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aggregator.job import Job
from aggregator.results import write_results
from protocol.messages import Refusal, Release, Scores, Update, decode_release, decode_request, encode
from protocol.transport.base import Handler
from protocol.transport.in_process import InProcessTransport
from tests.conftest import tiny_node, tiny_plan, tiny_store


def scored(**changes: Any) -> Callable[[Release], Release]:
    """Scores of which one class says something else."""

    def change(release: Release) -> Release:
        if not isinstance(release, Scores):
            return release
        one = msgspec.structs.replace(release.classes[0], **changes)
        return msgspec.structs.replace(release, classes=(one, *release.classes[1:]))

    return change


def told(kind: type[Release], **changes: Any) -> Callable[[Release], Release]:
    return lambda release: msgspec.structs.replace(release, **changes) if isinstance(release, kind) else release


IMPOSSIBLE: dict[str, Callable[[Release], Release]] = {
    "loss nan": told(Update, loss=math.nan),
    "loss infinite": told(Update, loss=math.inf),
    "proximal nan": told(Update, proximal=math.nan),
    "seconds infinite": told(Update, seconds=math.inf),
    "seconds negative": told(Update, seconds=-1.0),
    "score loss nan": told(Scores, loss=math.nan),
    "accuracy above one": told(Scores, accuracy=2.0),
    "no class": told(Scores, classes=()),
    "auroc above one": scored(auroc=1.5),
    "variance negative": scored(auroc_variance=-1.0),
    "covariance nan": scored(covariance_with_alone=math.nan),
    "bins of another release": scored(histogram_positive=(9,), histogram_negative=(9,)),
    "more cases than there are": scored(n_positive=2**63),
}


@pytest.mark.parametrize("change", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_hospital_that_sends_impossible_numbers_is_left_out_by_name(
    change: Callable[[Release], Release], tmp_path: Path
) -> None:
    plan = tiny_plan(**{"federation.rounds": 1, "training.local_steps": 1, "evaluation.alone": False})
    handlers: dict[str, Handler] = {
        name: tiny_node(name, tiny_store(tmp_path / name, seed=seed), tmp_path / f"state-{name}")
        for seed, name in enumerate("abc")
    }
    honest = handlers["a"]
    handlers["a"] = lambda data: encode(change(decode_release(honest(data))))
    job = Job(plan, InProcessTransport(handlers), tmp_path / "job", lambda _: None)
    with closing(job.journal):
        job.run()
        (tmp_path / "out").mkdir()
        written = write_results(job, tmp_path / "out")
        rounds, scores = job.rounds(), job.scores()
    assert written.report_json.exists()
    refused = {**rounds[0].failures, **{silo: reason for one in scores for silo, reason in one.failures.items()}}
    assert set(refused) == {"a"}, refused
    assert all("a" not in one.scores for one in scores if "a" in one.failures)


def test_a_hospital_s_own_words_are_kept_short_and_plain(tmp_path: Path) -> None:
    """They stand in the journal and on the coordinator's terminal, which acts on some letters."""
    plan = tiny_plan(**{"federation.rounds": 1, "training.local_steps": 1, "evaluation.alone": False})
    handlers: dict[str, Handler] = {
        name: tiny_node(name, tiny_store(tmp_path / name, seed=seed), tmp_path / f"state-{name}")
        for seed, name in enumerate("abc")
    }
    handlers["a"] = lambda data: encode(Refusal(decode_request(data).address, "E", "\x1b[2J\x07 no\n" + "x" * 10**6))
    job = Job(plan, InProcessTransport(handlers), tmp_path / "job", lambda _: None)
    with closing(job.journal):
        job.run()
        reason = job.rounds()[0].failures["a"]
    assert reason.startswith("E: ?[2J? no\nxxx")
    assert len(reason) < 5000
