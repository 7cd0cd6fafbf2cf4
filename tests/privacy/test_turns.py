"""A patient's turn depends on nobody else, so a program that goes by the clock learns of nobody who is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, chisquare, poisson
from torch import nn

from privacy.clipping import SCALE
from privacy.randomness import SecureBits
from privacy.step import PrivateStep, Turns
from privacy.turns import NEGLIGIBLE, coarse, enough, places, refuse_crowded
from protocol.errors import PrivacyError


def bits(seed: int) -> SecureBits:
    return SecureBits.from_key(seed.to_bytes(32, "little"))


@given(n=st.integers(0, 40), turns=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_everybody_has_one_turn_while_there_is_room_and_no_turn_is_shared(n: int, turns: int, seed: int) -> None:
    taken = places(n, turns, bits(seed))
    assert len(taken) == turns
    guests = [one for one in taken if one is not None]
    assert len(guests) == len(set(guests)) == min(n, turns)
    assert set(guests) <= set(range(n))


def test_without_one_patient_the_others_turns_are_distributed_as_before() -> None:
    repeats, drawn = 12_000, bits(1)
    both = [places(3, 4, drawn) for _ in range(repeats)]
    fewer = [places(2, 4, drawn) for _ in range(repeats)]
    with_third = Counter((one.index(0), one.index(1)) for one in both)
    without = Counter((one.index(0), one.index(1)) for one in fewer)
    assert len(with_third) == len(without) == 12
    for counts in (with_third, without):  # uniform, hence the same
        assert chisquare(list(counts.values())).pvalue > 1e-6


def test_every_place_of_a_patient_is_equally_likely_even_where_not_all_have_room() -> None:
    drawn = bits(2)
    seats = Counter(one.index(0) if 0 in one else -1 for one in (places(5, 4, drawn) for _ in range(20_000)))
    assert chisquare(list(seats.values())).pvalue > 1e-6
    assert set(seats) == {-1, 0, 1, 2, 3}


@pytest.mark.parametrize("expected", [1, 5, 20, 100, 1000])
def test_enough_turns_are_enough_for_as_many_patients_as_expected(expected: int) -> None:
    assert poisson.sf(enough(expected), expected) < NEGLIGIBLE
    refuse_crowded(20 * expected, 0.05, enough(expected), "code.turns")


def test_a_hospital_that_may_draw_more_than_there_are_turns_is_told_which_key_to_raise() -> None:
    with pytest.raises(PrivacyError, match=r"code\.turns: 64 turns") as refused:
        refuse_crowded(800, 0.05, 64, "code.turns")
    assert "800" not in str(refused.value)
    assert binom.sf(64, 800, 0.05) > NEGLIGIBLE


def test_where_everybody_is_in_every_step_the_turns_must_hold_all() -> None:
    refuse_crowded(56, 1.0, 56, "code.turns")
    with pytest.raises(PrivacyError):
        refuse_crowded(57, 1.0, 59, "code.turns")


def test_no_number_of_turns_that_a_plan_can_name_makes_one_patient_decide_whether_it_is_refused() -> None:
    """But for the few numbers of patients at which every plan's answer changes."""

    def refused(patients: int, turns: int) -> bool:
        try:
            refuse_crowded(patients, 1.0, turns, "code.turns")
        except PrivacyError:
            return True
        return False

    told = {n for n in range(1, 400) for turns in (n - 1, n, n + 1) if refused(n, turns) != refused(n + 1, turns)}
    assert told <= {n for n in range(1, 400) if n % 8 == 0}
    assert all(n <= coarse(n) <= max(n + 7, 1.125 * n) for n in range(1, 100_000))


class Clocked:
    """A step on patients whose gradient is one, in turns that are counted: at which turn each patient had its own."""

    def __init__(self, number: int | None) -> None:
        self.number, self.turn, self.seen = number, -1, dict[int, int]()

    def run(self, patients: int, drawn: SecureBits) -> int:
        """The number of turns that one step had."""
        self.turn, self.seen = -1, {}
        network = nn.Linear(1, 1, bias=False)
        blank = torch.ones(1, 1), torch.ones(1, 1)
        turns = Turns(self._each, number=self.number, blank=lambda: blank)
        step = PrivateStep(clip_norm=1.0, noise_multiplier=1.0, sampling_rate=1.0, batch_patients=4)
        total = step.sum(network, lambda output, _: output.sum(), patients, self._batch, drawn, turns)
        assert total.integers()[0] / SCALE == pytest.approx(patients, rel=0.01)  # a blank adds nothing
        return self.turn + 1

    @contextmanager
    def _each(self) -> Iterator[None]:
        self.turn += 1
        yield

    def _batch(self, patient: int, _: SecureBits) -> tuple[torch.Tensor, torch.Tensor]:
        self.seen[patient] = self.turn
        return torch.ones(1, 1), torch.ones(1, 1)


def test_a_step_has_the_same_turns_whoever_is_in_it() -> None:
    clocked, drawn = Clocked(6), bits(3)
    assert [clocked.run(n, drawn) for n in (0, 1, 5, 6)] == [6, 6, 6, 6]


def test_who_else_is_in_a_step_does_not_move_a_patient_s_turn() -> None:
    drawn = bits(4)
    found = []
    for patients in (4, 3):
        clocked, turns = Clocked(6), Counter[int]()
        for _ in range(1500):
            clocked.run(patients, drawn)
            turns[clocked.seen[2]] += 1
        assert chisquare([turns[turn] for turn in range(6)]).pvalue > 1e-6  # uniform, hence the same
        found.append(turns)
    assert sum(found[0].values()) == sum(found[1].values())


def test_one_after_the_other_a_missing_patient_would_move_all_later_ones() -> None:
    """The test above can fail."""
    clocked, drawn = Clocked(None), bits(5)
    clocked.run(4, drawn)
    assert clocked.seen == {0: 0, 1: 1, 2: 2, 3: 3}


def test_a_step_that_is_drawn_again_has_the_same_turns() -> None:
    first, again = Clocked(9), Clocked(9)
    first.run(5, bits(6))
    again.run(5, bits(6))
    assert first.seen == again.seen
