"""Poisoned silos against each defence: what breaks, what holds, and what a defence does not claim.

Seven small silos, ten rounds; AUROC on 600 honest images of nobody in the federation. Honest, every aggregation reaches 0.93 or
more. `benchmarks/poisoning.py` prints the whole table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.aggregator.poisoned_silos import End, Stores, defended_plan, federation, finish, make_stores

MEAN: dict[str, Any] = {}
MEDIAN = {"federation.aggregation": {"name": "median"}}
TRIMMED = {"federation.aggregation": {"name": "trimmed_mean", "trim": 0.3}}  # 2 of 7 at each end
KRUM = {"federation.aggregation": {"name": "krum", "byzantine": 2, "keep": 3}, "federation.quorum": 7}
BOUND = {"federation.norm_bound": 0.3}
DEFENCES = {"median": MEDIAN, "trimmed mean": TRIMMED, "krum": KRUM, "norm bound": BOUND}
BROKEN, WELL = 0.75, 0.93


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return make_stores(tmp_path_factory.mktemp("stores"))


def end_of(defence: dict[str, Any], attack: str, silos: str, stores: Stores, folder: Path, late: int = 1) -> End:
    """Seven silos of which `silos` do `attack` from round `late` on."""
    handlers = federation(stores, dict.fromkeys(silos, attack), folder, range(late, 99))
    return finish(defended_plan(**defence), handlers, folder / "job")


class TestTheMean:
    @pytest.mark.parametrize("attack", ["sign flip x10", "scaled x50"])
    def test_is_broken_by_one_silo_that_sends_long_updates(self, attack: str, stores: Stores, tmp_path: Path) -> None:
        end = end_of(MEAN, attack, "c", stores, tmp_path)
        assert end.auroc < BROKEN
        # Not only is the model ruined: honest silos cannot train from it, so the job stops.
        assert "QuorumError" in str(end.stopped)

    def test_hardly_notices_one_silo_with_flipped_labels_or_a_sign_flip_of_honest_length(
        self, stores: Stores, tmp_path: Path
    ) -> None:
        for attack in ("label flip", "sign flip"):
            assert end_of(MEAN, attack, "c", stores, tmp_path / attack).auroc > WELL

    def test_never_sees_a_nan(self, stores: Stores, tmp_path: Path) -> None:
        end = end_of(MEAN, "nan", "ce", stores, tmp_path)
        assert end.auroc > WELL
        assert all(set(record.failures) == {"c", "e"} for record in end.rounds)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFENCES)
class TestEveryDefence:
    def test_costs_little_when_all_are_honest(self, name: str, stores: Stores, tmp_path: Path) -> None:
        assert end_of(DEFENCES[name], "none", "", stores, tmp_path).auroc > WELL

    @pytest.mark.parametrize("attack", ["label flip", "sign flip", "sign flip x10", "scaled x50"])
    def test_withstands_one_poisoned_silo(self, name: str, attack: str, stores: Stores, tmp_path: Path) -> None:
        end = end_of(DEFENCES[name], attack, "c", stores, tmp_path)
        assert end.stopped is None
        assert end.auroc > WELL

    def test_withstands_two_silos_that_send_fifty_times_too_much(self, name: str, stores: Stores, tmp_path: Path) -> None:
        end = end_of(DEFENCES[name], "scaled x50", "ce", stores, tmp_path)
        assert end.stopped is None
        assert end.auroc > WELL


class TestWhatIsRecorded:
    def test_krum_says_whom_it_chose_and_never_the_long_ones(self, stores: Stores, tmp_path: Path) -> None:
        end = end_of(KRUM, "scaled x50", "ce", stores, tmp_path)
        for record in end.rounds:
            assert len(record.aggregated) == 3
            assert not {"c", "e"} & set(record.aggregated)
            assert set(record.weights) == set(record.aggregated)
            assert len(record.trained) == 7
            assert record.failures == {}

    def test_a_bound_says_whose_updates_were_longer_and_by_how_much(self, stores: Stores, tmp_path: Path) -> None:
        end = end_of(BOUND, "scaled x50", "c", stores, tmp_path)
        assert end.rounds[0].bounded["c"] > 10 * max(norm for silo, norm in end.rounds[0].bounded.items() if silo != "c")
        assert all(record.update_norm <= 0.3 * (1 + 1e-6) for record in end.rounds)


class TestWhatNoDefenceClaims:
    def test_krum_stops_when_refused_updates_leave_fewer_than_its_quorum(self, stores: Stores, tmp_path: Path) -> None:
        assert "QuorumError" in str(end_of(KRUM, "nan", "c", stores, tmp_path).stopped)

    def test_two_of_seven_that_work_together_still_bend_the_median(self, stores: Stores, tmp_path: Path) -> None:
        """It withstands any length, not any direction: with two pulling the same way it sits at the honest ones' edge."""
        honest = end_of(MEDIAN, "none", "", stores, tmp_path / "honest").auroc
        assert end_of(MEDIAN, "sign flip x10", "ce", stores, tmp_path / "bent").auroc < honest - 0.02


class TestGuards:
    """They know the aggregate only and compare it with earlier rounds, so the poison begins in round 5."""

    NORM = {"federation.guard": {"max_norm_ratio": 3.0, "max_rejected": 99}}  # noqa: RUF012 - read only
    DROP = {"federation.guard": {"max_validation_drop": 0.1, "max_rejected": 99}, "evaluation.every": 1}  # noqa: RUF012

    def test_the_norm_guard_keeps_what_the_mean_loses(self, stores: Stores, tmp_path: Path) -> None:
        unguarded = end_of(MEAN, "scaled x50", "c", stores, tmp_path / "mean", late=5)
        guarded = end_of(self.NORM, "scaled x50", "c", stores, tmp_path / "guard", late=5)
        before = end_of({"federation.rounds": 4, "evaluation.every": 4}, "none", "", stores, tmp_path / "before")
        assert unguarded.auroc < BROKEN
        assert guarded.stopped is None
        assert guarded.rejected == [5, 6, 7, 8, 9, 10]
        assert guarded.model.tobytes() == before.model.tobytes()

    def test_poison_that_cancels_the_honest_updates_passes_the_norm_guard_until_it_grows(
        self, stores: Stores, tmp_path: Path
    ) -> None:
        """Six updates and ten of them backwards make a mean of ordinary length: it is caught, but rounds later."""
        guarded = end_of(self.NORM, "sign flip x10", "c", stores, tmp_path, late=5)
        assert guarded.stopped is None
        assert guarded.rejected[0] > 5

    def test_the_validation_guard_goes_back_once_the_model_has_become_worse(self, stores: Stores, tmp_path: Path) -> None:
        guarded = end_of(self.DROP, "scaled x50", "ce", stores, tmp_path, late=5)
        assert guarded.stopped is None
        assert len(guarded.rejected) >= 4
        assert guarded.auroc > 0.9

    def test_neither_sees_poison_from_the_first_round_on_for_want_of_a_comparison(self, stores: Stores, tmp_path: Path) -> None:
        for index, guard in enumerate((self.NORM, self.DROP)):
            assert end_of(guard, "scaled x50", "c", stores, tmp_path / str(index)).auroc < BROKEN

    def test_the_norm_guard_does_not_see_poison_of_honest_length(self, stores: Stores, tmp_path: Path) -> None:
        assert end_of(self.NORM, "sign flip", "ce", stores, tmp_path, late=5).rejected == []
