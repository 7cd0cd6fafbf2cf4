"""A plan with a module of its own is paired with another job's model as any plan is: its process scores both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aggregator.job import Job
from aggregator.results import Written, write_results
from privacy.coded.nurseries import borrow, give_back
from protocol.plan import Plan
from protocol.transport.in_process import InProcessTransport
from protocol.weights import add_weights
from tests.aggregator.test_coded_jobs import FEW
from tests.conftest import tiny_node, tiny_plan, tiny_store
from tests.privacy.coded.modules import ALLOWS_CODE, SAME, coded

pytestmark = pytest.mark.slow
AUDIT = {"attributes": [], "smallest_cell": 1, "bins": 32}


@pytest.fixture(autouse=True, scope="module")
def _one_aggregator_nursery() -> Iterator[None]:
    borrow(tell=True)
    yield
    give_back(tell=True)


def written(plan: Plan, folder: Path) -> Written:
    nodes = {
        name: tiny_node(name, tiny_store(folder / name, n=120, seed=seed), folder / f"state-{name}", ALLOWS_CODE)
        for seed, name in enumerate(("s0", "s1"))
    }
    with closing((job := Job(plan, InProcessTransport(nodes), folder / "job", lambda _: None, {})).journal):
        job.run()
        (folder / "out").mkdir()
        return write_results(job, folder / "out")


def test_a_module_scores_the_model_of_a_job_without_one_as_that_job_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privacy.coded.build._turn", lambda *_: 0.0)
    monkeypatch.setenv("FEDWARD_WEIGHTS", str(tmp_path / "weights"))
    first = written(tiny_plan(**{**FEW, "federation.rounds": 1}, evaluation={"alone": False, "audit": AUDIT}), tmp_path / "a")
    audit: dict[str, Any] = AUDIT | {"compare_with": add_weights(first.model)}
    plain, module = (
        written(plan, tmp_path / name).report
        for name, plan in (
            ("b", tiny_plan(**FEW, evaluation={"alone": False, "audit": audit})),
            ("c", coded(SAME, loss="loss", **FEW, evaluation={"alone": False, "audit": audit})),
        )
    )
    assert plain["model"]["compared_with"] == module["model"]["compared_with"] == first.report["model"]["digest"]
    assert plain["audit"]["versus_baseline"]["classes"][0]["groups"][0]["auroc"]["value"] is not None
    assert plain["audit"]["versus_baseline"] == module["audit"]["versus_baseline"]
