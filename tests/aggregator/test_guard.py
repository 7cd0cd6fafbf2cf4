"""The guard's decisions, as pure functions of what is durable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.guard import bear, judge, keep_files, last_good, refused_norm, source, standing
from aggregator.records import RoundRecord, ScoresRecord, VerdictRecord
from aggregator.steps import JudgeRound, Progress, ScoreModel, TrainRound, next_step, step_key
from aggregator.tracking.names import of_round
from evaluation.measure import AnyScores
from protocol.errors import PoisonedError
from protocol.plan.aggregation import Guard
from tests.conftest import tiny_plan
from tests.evaluation.made_up_runs import draw_rows, draw_scores, noised

NORM = Guard(max_norm_ratio=4.0)
DROP = Guard(max_validation_drop=0.1)


def record(number: int, norm: float = 1.0, rejected: str | None = None) -> RoundRecord:
    return RoundRecord(
        round=number, attempt=0, started_at=0.0, seconds=1.0, configured=("a", "b"), trained=("a", "b"),
        aggregated=() if rejected else ("a", "b"), failures={}, weights={"a": 1.0, "b": 1.0}, losses={}, proximals={}, steps={},
        silo_seconds={}, update_norm=norm, model_digest=f"sha256:{number}", rejected=rejected,
    )  # fmt: skip


class TestNorm:
    def test_is_compared_with_the_median_of_accepted_rounds_once_there_are_three(self) -> None:
        records = [record(1, 1.0), record(2, 3.0), record(3, 2.0)]
        assert refused_norm(NORM, 1e9, records[:2]) is None
        assert refused_norm(NORM, 8.0, records) is None
        assert "8.1 long, the median of 3 accepted rounds is 2: more than 4 times" in str(refused_norm(NORM, 8.1, records))

    def test_rejected_rounds_do_not_make_long_updates_usual(self) -> None:
        records = [record(n, 1.0) for n in (1, 2, 3)] + [record(n, 100.0, "too long") for n in range(4, 20)]
        assert refused_norm(NORM, 5.0, records) is not None

    def test_is_off_unless_the_plan_asks(self) -> None:
        assert refused_norm(Guard(), 1e30, [record(n) for n in range(1, 9)]) is None


def validation(number: int, scores: Mapping[str, AnyScores]) -> ScoresRecord:
    return ScoresRecord(number, "federated", "validation", 0.0, dict(scores), {})


def scored(number: int, separation: float, silos: str = "abc", n: int = 200) -> ScoresRecord:
    """A validation on the same rows whatever `separation` is; the AUROC is about Phi(separation)."""
    return validation(number, {s: draw_scores(ord(s), n, separation, split="validation") for s in silos})


class TestValidation:
    def test_the_first_is_good_and_a_small_drop_stays_good(self) -> None:
        first = judge(DROP, scored(1, 1.5), None)
        assert first.rejected is None
        assert first.auroc == pytest.approx(0.933, abs=0.03)
        assert judge(DROP, scored(2, 1.4), scored(1, 1.5)).rejected is None

    def test_a_drop_beyond_the_plan_s_goes_back_to_the_last_good_round(self) -> None:
        verdict = judge(DROP, scored(6, 0.2), scored(3, 1.5))
        assert verdict.back_to == 3
        assert "in round 3 to 0." in str(verdict.rejected)

    def test_only_silos_that_answered_both_are_compared(self) -> None:
        """Silo c is easier than the others: without it the model only seems to have become worse."""
        easy = scored(1, 6.0, "c", 2000).scores
        good, now = validation(1, scored(1, 1.0, "ab").scores | easy), scored(2, 1.0, "ab")
        assert judge(DROP, now, good).rejected is None
        assert judge(DROP, validation(2, now.scores | scored(2, 1.0, "c", 2000).scores), good).rejected is not None

    def test_a_model_that_most_silos_cannot_score_any_more_is_rejected(self) -> None:
        verdict = judge(DROP, scored(2, 1.5, "c"), scored(1, 1.5))
        assert (verdict.back_to, verdict.auroc) == (1, None)
        assert "1 of the 3 silos that scored round 1 could score round 2" in str(verdict.rejected)
        assert judge(DROP, scored(2, 1.5, ""), scored(1, 1.5)).rejected is not None

    def test_too_few_cases_are_not_judged_and_are_nothing_to_compare_with(self) -> None:
        verdicts = [judge(DROP, scored(1, 1.5), None), judge(DROP, scored(2, 0.0, n=8), scored(1, 1.5, n=8))]
        assert (verdicts[1].rejected, verdicts[1].auroc) == (None, None)
        assert last_good(verdicts) == 1

    def test_noised_histograms_are_judged_too(self) -> None:
        def private(number: int, separation: float) -> ScoresRecord:
            return validation(number, {"a": noised(draw_rows(3, 3000, separation), number, 1.0, "federated", "validation")})

        assert judge(DROP, private(2, 1.4), private(1, 1.5)).rejected is None
        assert judge(DROP, private(2, 0.2), private(1, 1.5)).back_to == 1


BACK = VerdictRecord(6, 0.6, "AUROC fell", 3)
VERDICTS = [VerdictRecord(3, 0.9), BACK]


class TestWhatFollows:
    def test_rounds_after_the_last_good_one_lose_their_say_and_their_model(self) -> None:
        records = [record(n, rejected="too long" if n == 5 else None) for n in range(1, 8)]
        now = standing(records, VERDICTS)
        assert [one.rejected for one in now] == [None, None, None, "AUROC fell", "too long", "AUROC fell", None]
        assert [bool(one.aggregated) for one in now] == [True, True, True, False, False, False, True]
        assert [source(n, VERDICTS) for n in range(1, 8)] == [1, 2, 3, 3, 3, 3, 7]

    def test_one_bad_validation_is_one_rejection_however_many_rounds_it_takes_along(self) -> None:
        records = [record(n) for n in range(1, 10)]
        again = VerdictRecord(9, 0.6, "fell again", 3)
        bear(Guard(max_validation_drop=0.1, max_rejected=1), records[:6], VERDICTS)
        bear(Guard(max_validation_drop=0.1, max_rejected=2), records, [*VERDICTS, again])
        with pytest.raises(PoisonedError, match=r"2 rejections in a row[\s\S]*round 6: AUROC fell\n  round 9: fell again"):
            bear(Guard(max_validation_drop=0.1, max_rejected=1), records, [*VERDICTS, again])

    def test_an_accepted_round_ends_the_row(self) -> None:
        records = [record(1), record(2, 9, "long"), record(3), record(4, 9, "long")]
        bear(Guard(max_norm_ratio=2.0, max_rejected=1), records, [])
        with pytest.raises(PoisonedError, match="1 rejections"):
            bear(Guard(max_norm_ratio=2.0, max_rejected=0), records, [])

    @given(
        every=st.integers(1, 4),
        average=st.integers(1, 6),
        outcomes=st.lists(st.sampled_from(["good", "bad", "unknown"]), min_size=1, max_size=25),
    )
    def test_every_model_file_that_can_be_needed_is_kept(self, every: int, average: int, outcomes: list[str]) -> None:
        """Commits, deletes as the journal does, judges; the files that follow must always be there."""
        plan = tiny_plan(**{"federation.rounds": 99, "federation.average_last": average, "evaluation.every": every})
        verdicts: list[VerdictRecord] = []
        files: set[int] = set()
        for number in range(1, every * len(outcomes) + 1):
            keep = keep_files(plan, number, verdicts)
            files = {one for one in files | {number} if one > number - max(1, keep)}
            if number % every == 0:
                good, outcome = last_good(verdicts), outcomes[number // every - 1]
                rejected = outcome == "bad" and good is not None
                back = good if rejected else None
                verdicts.append(VerdictRecord(number, 0.5 if outcome == "good" else None, "bad" if rejected else None, back))
            assert {source(n, verdicts) for n in range(max(1, number - average + 1), number + 1)} <= files


class TestSteps:
    def test_a_validation_is_judged_before_the_next_round_and_only_once(self) -> None:
        plan = tiny_plan(**{"federation.guard": {"max_validation_drop": 0.1}, "evaluation.every": 2, "federation.rounds": 4})
        done: set[str] = set()

        def after(committed: int) -> Any:
            return next_step(plan, Progress(committed, frozenset(done)), validate=True)

        assert after(1) == TrainRound(2)
        done.add(step_key(ScoreModel(2, "federated", "validation")))
        assert after(2) == JudgeRound(2)
        done.add(step_key(JudgeRound(2)))
        assert after(2) == TrainRound(3)
        done.add(step_key(ScoreModel(4, "federated", "validation")))
        assert after(4) == JudgeRound(4)

    def test_without_such_a_guard_nothing_is_judged(self) -> None:
        plan = tiny_plan(**{"federation.guard": {"max_norm_ratio": 3.0}})
        done = frozenset({step_key(ScoreModel(1, "federated", "validation"))})
        assert next_step(plan, Progress(1, done), validate=True) == TrainRound(2)


def test_a_round_that_two_verdicts_reject_keeps_the_first_reason() -> None:
    verdicts = [VerdictRecord(1, 0.9), VerdictRecord(2, 0.7, "first", 1), VerdictRecord(3, 0.6, "second", 1)]
    after = standing([record(number) for number in (1, 2, 3)], verdicts)
    assert [one.rejected for one in after] == [None, "first", "second"]


def test_mlflow_has_a_point_for_each_rejected_round_and_none_for_the_others() -> None:
    parent, _ = of_round(record(2, rejected="too long"))
    assert parent["guard/rejected"] == 1.0
    assert "guard/rejected" not in of_round(record(2))[0]
