"""A plan whose preprocessing would fill a hospital's memory or disk is refused by name, before anything is allocated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedward.rehearsal import rehearse
from protocol.errors import PlanError
from protocol.messages import Description, PrivateDescription
from protocol.plan import Plan
from silo_node import memory
from silo_node.training.size import rounded_up, size_of
from tests.conftest import GENEROUS, PRIVATE, SIZE, TINY, tiny_plan
from tests.silo_node.test_private_node import Hospital, refusal

MB = 1_000_000


def resized(edge: int, *, private: bool = True) -> Plan:
    steps = [{"name": "Resize", "args": {"spatial_size": [edge, edge]}}, PRIVATE["data.preprocessing"][1]]
    return tiny_plan(**((PRIVATE if private else {}) | {"data.preprocessing": steps}))


@pytest.mark.parametrize(
    ("steps", "height", "width"),
    [
        ([("Resize", {"spatial_size": [300, 200]})], 300, 200),
        ([("Resize", {"spatial_size": 300, "size_mode": "longest"})], 300, 300),
        ([("Resize", {"spatial_size": [-1, 700]})], 50, 700),
        ([("SpatialPad", {"spatial_size": [20, 90]})], 50, 90),
        ([("BorderPad", {"spatial_border": 40})], 130, 140),
        ([("BorderPad", {"spatial_border": [1, 2, 3, 40]})], 130, 140),
        ([("ResizeWithPadOrCrop", {"spatial_size": [500, 500]}), ("Resize", {"spatial_size": [10, 10]})], 10, 10),
        ([("NormalizeIntensity", {})], 50, 60),
    ],
)
def test_the_size_follows_from_the_arguments(steps: list[tuple[str, dict[str, object]]], height: int, width: int) -> None:
    plan = tiny_plan(**{"data.preprocessing": [{"name": name, "args": args} for name, args in steps]})
    size = size_of(plan, 50, 60)
    assert size.image == 4 * plan.data.channels * height * width
    assert size.working >= 4 * size.image
    if steps[0][0] == "ResizeWithPadOrCrop":
        assert size.working >= 4 * 4 * 500 * 500  # what is made small again was large


def test_a_private_plan_with_huge_images_is_refused_before_one_is_made(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, tiny_plan(**PRIVATE))
    hospital.plan = resized(1_000_000)  # 4 TB each
    refusal(hospital.describe(job="job-2"), "PolicyError", "")
    assert not any((hospital.state / "cache").glob("*"))


@pytest.mark.parametrize("private", [True, False])
def test_the_hospitals_own_limit_holds_for_the_whole_cohort(tmp_path: Path, private: bool) -> None:
    plan = resized(SIZE, private=private)  # 80 images count as 128: in memory under privacy, on disk without
    cohort_gb = 128 * 4 * SIZE * SIZE / 1e9
    for name, limit, admitted in (("narrow", 0.9 * cohort_gb, not private), ("wide", 1.1 * cohort_gb, True)):
        hospital = Hospital(tmp_path / name, plan, GENEROUS.model_copy(update={"max_image_gb": limit}))
        answer = hospital.describe()
        if admitted:
            assert isinstance(answer, PrivateDescription | Description), answer
        else:
            refusal(answer, "PolicyError", "")


def test_without_a_limit_half_of_what_is_free_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < memory.available() < 1 << 50
    cohort, free = 128 * 4 * SIZE * SIZE, {"now": 0}
    monkeypatch.setattr(memory, "available", lambda: free["now"])
    free["now"] = int(2.1 * cohort)
    assert isinstance(Hospital(tmp_path / "enough", resized(SIZE)).describe(), PrivateDescription)
    free["now"] = int(1.9 * cohort)
    refusal(Hospital(tmp_path / "little", resized(SIZE)).describe(), "PolicyError", "")


def test_a_cohort_that_the_disk_cannot_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = memory.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    refusal(Hospital(tmp_path, resized(SIZE, private=False)).describe(), "PolicyError", "of disk")


def test_how_many_images_there_are_is_rounded_before_it_decides() -> None:
    assert [rounded_up(n) for n in (0, 1, 64, 65, 128, 129, 1000)] == [64, 64, 64, 128, 128, 256, 1024]


def test_plan_check_says_how_large_images_become_and_does_not_try_huge_ones(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps(TINY))
    assert rehearse(tiny_plan(**PRIVATE), path).facts["mb_per_image"] == round(4 * SIZE * SIZE / MB, 3)
    with pytest.raises(PlanError, match=r"plan\.yaml:1: data\.preprocessing: makes images of 4000\.0 GB"):
        rehearse(resized(1_000_000), path)
