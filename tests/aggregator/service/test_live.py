"""What a coordinator sees of a running job is what its report will say."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.events import Scored
from aggregator.records import ScoresRecord
from aggregator.service.live import LiveStatus, read_live
from tests.evaluation.made_up_runs import draw_rows, noised


@pytest.mark.parametrize(("patients", "shown"), [(900, True), (40, False)])
def test_an_auroc_that_is_mostly_noise_is_not_shown(tmp_path: Path, patients: int, shown: bool) -> None:
    live = LiveStatus(tmp_path / "live.json", ("north",), dict)
    scores = {"north": noised(draw_rows(3, patients, 1.2), 1, 1.0, "federated", "validation")}
    live(Scored(ScoresRecord(2, "federated", "validation", 1e9, scores, {})))
    known = read_live(tmp_path / "live.json")
    assert known is not None
    assert (known.auroc is not None) == shown
