"""What an aggregator tried in order to learn of one patient without paying; each attempt once worked, or nearly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from privacy.accounting import epsilon
from privacy.events import metric_event, training_event
from privacy.guarantee import guarantee_of
from protocol.errors import PolicyError
from protocol.messages import PrivateDescription, PrivateUpdate, Train
from protocol.plan import Plan
from protocol.vectors import from_wire, to_wire
from silo_node.cohort import CohortStore, StoreWriter
from silo_node.policy import Policy, load_policy
from tests.conftest import GENEROUS, PRIVATE, SIZE, tiny_node, tiny_plan
from tests.silo_node.test_private_node import Hospital, refusal, update_of

RESIZE = {"name": "Resize", "args": {"spatial_size": [SIZE, SIZE]}}


def store_with(path: Path, *odd: dict[str, Any]) -> CohortStore:
    """Thirty ordinary patients and, after them, the `odd` ones."""
    rng = np.random.default_rng(0)
    writer = StoreWriter.create(path)
    for number in range(30):
        writer.add(rng.random((1, SIZE, SIZE), dtype=np.float32), patient=f"p{number}", labels={"finding": str(number % 2)})
    for number, one in enumerate(odd):
        image = one.get("image", np.full((1, SIZE, SIZE), 0.5, dtype=np.float32))
        for _ in range(one.get("images", 1)):
            writer.add(image, patient=f"odd{number}", labels=one.get("labels", {"finding": "1"}), fold=one.get("fold"))
    return writer.finish()


def plan(**changes: Any) -> Plan:
    return tiny_plan(**{**PRIVATE, **changes})


# --------------------------------------------------------------------------------------------- describing is no question


PIXEL = [
    RESIZE,
    {"name": "CenterSpatialCrop", "args": {"roi_size": [1, 1]}},
    RESIZE,
    {"name": "ScaleIntensityRange", "args": {"a_min": 0.6, "a_max": 1.0, "b_min": 0.0, "b_max": 1.0, "clip": True}},
    {"name": "NormalizeIntensity", "args": {"subtrahend": 0.0, "divisor": 1e-42}},
]


@pytest.mark.parametrize(
    ("one", "other", "changes"),
    [
        ({"labels": {"finding": "1"}}, {"labels": {"finding": "malignant"}}, {}),
        ({"labels": {"biopsy": "malignant"}}, {"labels": {"biopsy": "benign"}}, {"task.target": "biopsy"}),
        ({"image": np.full((1, SIZE, SIZE), 0.5)}, {"image": np.full((1, SIZE, SIZE), 0.7)}, {"data.preprocessing": PIXEL}),
        ({"image": np.full((1, SIZE, SIZE), 0.5)}, {"image": np.full((1, 5, 31), 0.5)}, {}),
        ({"image": np.full((1, SIZE, SIZE), 0.5)}, {"image": np.full((3, SIZE, SIZE), 0.5)}, {}),
        ({}, {"labels": {}}, {"task.target": "finding"}),
    ],
)
def test_what_a_silo_says_of_its_cohort_does_not_depend_on_one_patient(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any], changes: dict[str, Any]
) -> None:
    answers = []
    for name, odd in (("one", [one]), ("other", [other]), ("none", [])):
        odd = [{k: v.astype(np.float32) if k == "image" else v for k, v in each.items()} for each in odd]
        hospital = Hospital(tmp_path / name, plan(**changes), store=store_with(tmp_path / name / "store", *odd))
        answer = hospital.describe()
        assert isinstance(answer, PrivateDescription), answer
        answers.append(msgspec.structs.replace(answer, cohort=""))
        update_of(hospital.train(1))
    assert answers[0] == answers[1] == answers[2]


def test_the_smallest_cohort_is_counted_over_the_whole_store_whatever_the_plan_asks_for(tmp_path: Path) -> None:
    policy = GENEROUS.model_copy(update={"min_patients": 31})
    splits = [{"test_fraction": fraction, "validation_fraction": 0.5} for fraction in (0.0, 0.5, 0.9)]
    for number, split in enumerate(splits):
        enough = store_with(tmp_path / f"enough{number}", {})
        assert isinstance(
            Hospital(tmp_path / f"a{number}", plan(**{"data.split": split}), policy, store=enough).describe(),
            PrivateDescription,
        )
        few = store_with(tmp_path / f"few{number}")
        refusal(
            Hospital(tmp_path / f"b{number}", plan(**{"data.split": split}), policy, store=few).describe(), "PolicyError", ""
        )


def test_a_plan_whose_images_come_out_in_no_fixed_size_is_refused_by_the_plan_alone(tmp_path: Path) -> None:
    changes = {"data.preprocessing": [{"name": "NormalizeIntensity", "args": {}}]}
    hospital = Hospital(tmp_path, plan(**changes))
    refusal(hospital.describe(), "NetworkError", "one size")


def test_the_cohort_s_token_does_not_change_with_the_cohort(tmp_path: Path) -> None:
    first = Hospital(tmp_path, plan(), store=store_with(tmp_path / "v1" / "store")).describe()
    second = Hospital(tmp_path, plan(), store=store_with(tmp_path / "v2" / "store", {})).describe()
    assert first == second


# ------------------------------------------------------------------------------------------------ nothing is drawn for free


@pytest.mark.parametrize("deadline", [-1.0, 0.0, float("nan")])
def test_a_deadline_that_has_passed_is_refused_before_anybody_is_drawn(tmp_path: Path, deadline: float) -> None:
    hospital = Hospital(tmp_path, plan())
    hospital.describe()
    answer = hospital.ask(Train(hospital.address(1), deadline, to_wire(hospital.vector)))
    refusal(answer, "DeadlineError", "before training began")
    assert hospital.releases() == []


def test_a_job_s_name_is_one_line_of_known_letters(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, plan())
    for name in ("job\n", "job\n\n", "Job", "jöb", "../job", "", "j" * 129):
        too_long = len(name) > 128  # already refused as it is read
        refusal(hospital.describe(job=name), *(("MessageError", "length") if too_long else ("SiloError", "refused")))


def test_an_update_that_overflows_is_paid_and_leaves_as_finite_numbers(tmp_path: Path) -> None:
    optimizer = {"name": "SGD", "lr": 100.0, "weight_decay": 10.0}
    hospital = Hospital(tmp_path, plan(**{"training.optimizer": optimizer, "training.local_steps": 60}))
    hospital.describe()
    hospital.vector = np.full_like(hospital.vector, 3e38)
    update = update_of(hospital.train(1))
    assert np.isfinite(from_wire(update.delta)).all()
    assert hospital.releases() == ["round/1"]
    hospital.vector = np.full_like(hospital.vector, np.nan)
    refusal(hospital.train(2), "MessageError", "not finite")
    assert hospital.releases() == ["round/1"]


def test_a_patient_on_whom_training_fails_does_not_show(tmp_path: Path) -> None:
    """A transform that makes two images of one patient differ in size, so that they cannot be stacked."""
    augmentation = [{"name": "RandSpatialCrop", "args": {"roi_size": [4, 4], "random_size": True}}]
    privacy = {**PRIVATE["privacy"], "sampling": "full"}
    changes = plan(**{"data.augmentation": augmentation, "privacy": privacy})
    for images in (1, 2):
        store = store_with(tmp_path / str(images) / "store", {"images": images})
        hospital = Hospital(tmp_path / str(images), changes, store=store)
        hospital.describe()
        update_of(hospital.train(1))
        assert hospital.releases() == ["round/1"]


def test_an_attempt_that_died_after_it_was_paid_goes_on_as_the_same_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital = Hospital(tmp_path, plan())
    hospital.describe()
    made: list[bytes] = []
    with monkeypatch.context() as patched:
        from silo_node.outbox import Outbox

        keep = Outbox.keep

        def die(self: Outbox, release: str, request: str, content: bytes) -> bytes:
            if release == "round/1":
                made.append(content)
                raise KeyboardInterrupt
            return keep(self, release, request, content)

        patched.setattr(Outbox, "keep", die)
        with pytest.raises(KeyboardInterrupt):
            hospital.train(1)
    assert hospital.releases() == ["round/1"]
    hospital.fresh()
    update = update_of(hospital.train(1))
    assert hospital.releases() == ["round/1"]
    assert bytes(update.delta) == made[0]
    assert not list((hospital.state / "jobs" / "job-1" / "outbox").glob("*key*"))


def test_two_nodes_with_one_ledger_do_not_send_two_samples_for_one_charge(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, plan())
    hospital.describe()
    update_of(hospital.train(1))
    other = Hospital(tmp_path, plan(), store=hospital.store)
    other.state = tmp_path / "other"
    other.node = tiny_node("site", hospital.store, other.state)
    other.node._account._path = hospital.state / "ledger.jsonl"
    other.describe()
    refusal(other.train(1), "SiloError", "second charge")
    assert hospital.releases() == ["round/1"]


def test_personal_parts_of_a_round_that_was_not_paid_feed_no_later_one(tmp_path: Path) -> None:
    policy = GENEROUS.model_copy(update={"max_epsilon_total": 1e-3})
    hospital = Hospital(tmp_path, plan(**{"federation.personal": ["head"]}), policy)
    refusal(hospital.describe(), "BudgetError", "max_epsilon_total")
    refusal(hospital.train(1), "SiloError", "never described")
    assert not list(tmp_path.rglob("personal-*"))


# ------------------------------------------------------------------------------------------------------------- accounting


def test_a_patient_who_trains_at_one_hospital_and_is_tested_at_another_pays_for_both() -> None:
    privacy = {**PRIVATE["privacy"], "max_silos_per_patient": 2, "noise_multiplier": 1.0, "metrics_epsilon": 4.0}
    guarantee = guarantee_of(plan(privacy=privacy))
    mixed = [training_event(1.0, 0.5, guarantee.steps), metric_event(4.0)]
    assert guarantee.epsilon >= epsilon(mixed, guarantee.delta)
    by_epsilon = {**privacy, "noise_multiplier": None, "epsilon": 60.0}
    found = guarantee_of(plan(privacy=by_epsilon))
    mixed = [training_event(found.noise_multiplier, 0.5, found.steps), metric_event(4.0)]
    assert epsilon(mixed, found.delta) <= found.epsilon <= 60.0


# --------------------------------------------------------------------------------------------------------------- operators


def test_a_policy_that_cannot_be_read_is_not_the_absence_of_one(tmp_path: Path) -> None:
    path = tmp_path / "north.policy.yaml"
    assert load_policy(path) == Policy()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(PolicyError):
        load_policy(path)
    path.unlink()
    (tmp_path / "north.policy.yml").write_text("max_epsilon_total: 1.0")
    with pytest.raises(PolicyError, match="Rename it"):
        load_policy(path)


def test_an_update_is_what_a_private_round_gives(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, plan())
    hospital.describe()
    assert isinstance(hospital.train(1), PrivateUpdate)
