from __future__ import annotations

from aggregator.steps import AuditModel, CloseJob, LocalPhase, Progress, ScoreModel, Step, TrainRound, next_step, step_key
from protocol.plan import Plan
from tests.conftest import tiny_plan


def walk(plan: Plan, *, validate: bool = True) -> list[Step]:
    committed, done, steps = 0, set[str](), list[Step]()
    while (step := next_step(plan, Progress(committed, frozenset(done)), validate=validate)) is not None:
        steps.append(step)
        if isinstance(step, TrainRound):
            committed = step.number
        else:
            done.add(step_key(step))
    return steps


def test_every_round_is_validated_before_the_next_begins_and_the_test_comes_last() -> None:
    steps = walk(tiny_plan(**{"federation.rounds": 2, "evaluation.personalise": "fine_tune"}))
    assert steps == [
        TrainRound(1),
        ScoreModel(1, "federated", "validation"),
        TrainRound(2),
        ScoreModel(2, "federated", "validation"),
        LocalPhase("alone"),
        LocalPhase("personalised"),
        ScoreModel(2, "federated", "test"),
        ScoreModel(2, "alone", "test"),
        ScoreModel(2, "personalised", "test"),
        CloseJob(),
    ]


def test_a_mixed_model_needs_no_training_of_its_own() -> None:
    steps = walk(tiny_plan(**{"federation.rounds": 1, "evaluation.personalise": "mix"}))
    assert LocalPhase("personalised") not in steps
    assert steps[-2:] == [ScoreModel(1, "personalised", "test"), CloseJob()]


def test_only_what_the_plan_asks_for_is_done() -> None:
    steps = walk(tiny_plan(**{"federation.rounds": 5, "evaluation.every": 2, "evaluation.alone": False}))
    assert [s.round for s in steps if isinstance(s, ScoreModel) and s.split == "validation"] == [2, 4, 5]
    assert not [s for s in steps if isinstance(s, LocalPhase)]
    assert steps[-2:] == [ScoreModel(5, "federated", "test"), CloseJob()]


def test_the_audit_follows_the_test_of_the_final_model_from_which_its_bins_follow() -> None:
    steps = walk(tiny_plan(**{"federation.rounds": 2, "evaluation.audit": {}}))
    at = steps.index(AuditModel(2))
    assert steps[at - 1 : at + 2] == [ScoreModel(2, "federated", "test"), AuditModel(2), ScoreModel(2, "alone", "test")]
    assert sum(isinstance(step, AuditModel) for step in steps) == 1


def test_without_validation_patients_nothing_is_validated() -> None:
    assert not [s for s in walk(tiny_plan(), validate=False) if isinstance(s, ScoreModel) and s.split == "validation"]


def test_stopping_after_any_step_leads_to_the_same_remaining_steps() -> None:
    plan = tiny_plan()
    steps = walk(plan)
    for cut in range(len(steps)):
        done = steps[:cut]
        committed = sum(isinstance(step, TrainRound) for step in done)
        keys = frozenset(step_key(step) for step in done if not isinstance(step, TrainRound))
        assert next_step(plan, Progress(committed, keys), validate=True) == steps[cut]
