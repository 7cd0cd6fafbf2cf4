"""Accounting: golden figures, other people's accountants as oracles, and the event codec's strictness."""

from __future__ import annotations

import json
import math
import time
import warnings

import dp_accounting as dpa
import pytest
from dp_accounting import pld
from dp_accounting.dp_event import DiscreteLaplaceDpEvent
from dp_accounting.pld import common, privacy_loss_distribution
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting import epsilon, epsilon_to_renyi, renyi, renyi_to_epsilon, worst_epsilon
from privacy.calibration import calibrate
from privacy.event_json import decode, encode
from privacy.events import mechanisms, metric_event, training_event, unproven_event
from protocol.errors import LedgerError, PrivacyError

GOLDEN = training_event(1.0, 0.02, 2000)


def test_the_golden_figure() -> None:
    assert epsilon([GOLDEN], 1e-5) == pytest.approx(5.616, abs=0.002)


def test_renyi_gives_the_known_larger_figure() -> None:
    orders = [1 + x / 10 for x in range(1, 100)]
    best = min(renyi_to_epsilon(renyi([GOLDEN], order), order, 1e-5) for order in orders)
    assert best == pytest.approx(6.150, abs=0.001)
    assert epsilon_to_renyi(renyi_to_epsilon(0.7, 4, 1e-5), 4, 1e-5) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("rate", "sigma", "steps", "delta"), [(0.02, 1.0, 2000, 1e-5), (0.1, 2.0, 300, 1e-5), (0.01, 0.8, 1000, 1e-6)]
)
def test_a_second_accountant_agrees(rate: float, sigma: float, steps: int, delta: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # opacus' own
        from opacus.accountants import PRVAccountant

        other = PRVAccountant()
        other.history = [(sigma, rate, steps)]
        assert abs(epsilon([training_event(sigma, rate, steps)], delta) - other.get_epsilon(delta=delta)) < 0.02


def test_full_batch_is_the_gaussian_mechanism() -> None:
    """T steps at sigma are one at sigma / sqrt(T); its delta has a closed form (Balle, Wang 2018, theorem 8)."""
    value = epsilon([training_event(5.0, 1.0, 60)], 1e-6)
    mu = math.sqrt(60) / 5.0

    def normal(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    assert normal(mu / 2 - value / mu) - math.exp(value) * normal(-mu / 2 - value / mu) == pytest.approx(1e-6, rel=1e-3)


def test_sampling_that_is_not_proven_costs_the_full_gaussian() -> None:
    """2000 steps at 0.02 are 40 passes: a patient is in 40 steps."""
    assert epsilon([unproven_event(1.0, 40)], 1e-5) == pytest.approx(46.2, abs=0.05)
    assert epsilon([unproven_event(1.0, 40)], 1e-5) > 8 * epsilon([GOLDEN], 1e-5)


def test_discrete_laplace_is_the_worst_pure_mechanism_and_continuous_laplace_would_charge_too_little() -> None:
    ours = epsilon([metric_event(0.3, 21)], 1e-6)
    worst = privacy_loss_distribution.from_privacy_parameters(common.DifferentialPrivacyParameters(0.3, 0.0)).self_compose(21)
    assert ours == pytest.approx(worst.get_epsilon_for_delta(1e-6), abs=0.003)
    laplace = pld.PLDAccountant()
    laplace.compose(dpa.SelfComposedDpEvent(dpa.LaplaceDpEvent(1 / 0.3), 21))
    assert laplace.get_epsilon(1e-6) < ours - 0.2


@pytest.mark.parametrize("order", [2, 5, 64, 4096])
def test_renyi_of_discrete_laplace_by_summing_the_outcomes(order: int) -> None:
    pure = 0.3
    loss = [abs(x - 1) - abs(x) for x in range(-400, 401)]
    log_mass = [math.log(math.tanh(pure / 2)) - pure * abs(x) for x in range(-400, 401)]
    terms = [mass + (order - 1) * pure * one for mass, one in zip(log_mass, loss, strict=True)]
    top = max(terms)
    expected = (top + math.log(math.fsum(math.exp(term - top) for term in terms))) / (order - 1)
    assert renyi([metric_event(pure)], order) == pytest.approx(expected, rel=1e-9)
    assert renyi([metric_event(pure)], order) <= min(pure, order * pure**2 / 2)


def test_a_patient_at_two_hospitals_pays_twice_the_steps() -> None:
    assert epsilon([training_event(2.0, 0.1, 300, 2)], 1e-6) == epsilon([training_event(2.0, 0.1, 600)], 1e-6)


def test_composition_over_studies_is_the_joint_distribution_and_not_a_sum() -> None:
    studies = [training_event(1.0, 0.02, 2000), training_event(0.8, 0.01, 1000), training_event(2.0, 0.1, 300)]
    accountant = pld.PLDAccountant()
    for study in studies:
        accountant.compose(study)
    joint = epsilon(studies, 1e-5)
    assert joint == pytest.approx(accountant.get_epsilon(1e-5), abs=1e-3)
    assert worst_epsilon([{"train": [study]} for study in studies], 1e-5) == pytest.approx(joint, abs=1e-3)
    assert joint < sum(epsilon([study], 1e-5 / 3) for study in studies)


def test_the_order_of_charges_does_not_matter() -> None:
    """One round after the other costs what the whole study costs."""
    rounds = [training_event(2.0, 0.1, 30)] * 10
    assert epsilon(rounds, 1e-6) == epsilon([training_event(2.0, 0.1, 300)], 1e-6)
    assert mechanisms(rounds) == mechanisms([training_event(2.0, 0.1, 300)])


def test_the_worst_patient_is_found_over_all_choices_of_parts() -> None:
    trains = {"train": [training_event(2.0, 0.1, 300)], "test": [metric_event(0.3)]}
    scores = {"train": [training_event(20.0, 0.1, 30)], "validation": [metric_event(1.0, 6)], "test": [metric_event(1.0)]}
    expected = epsilon([*trains["train"], *scores["validation"]], 1e-6)
    assert worst_epsilon([trains, scores], 1e-6) == pytest.approx(expected, abs=1e-6)
    assert worst_epsilon([], 1e-6) == 0.0
    many = worst_epsilon([trains, scores] * 4, 1e-6)  # 2^8 choices: a bound
    assert epsilon([*trains["train"], *scores["validation"]] * 4, 1e-6) <= many < 4 * expected


@pytest.mark.parametrize(
    ("target", "delta", "rate", "steps"),
    [(5.616, 1e-5, 0.02, 2000), (8.0, 1e-6, 0.1, 2000), (1.0, 1e-6, 0.1, 300), (8.0, 1e-6, 1.0, 60), (0.1, 1e-6, 0.1, 50)],
)
def test_calibration_finds_the_least_noise_that_keeps_the_promise(target: float, delta: float, rate: float, steps: int) -> None:
    calibrate.cache_clear()
    start = time.process_time()
    sigma = calibrate(target, delta, rate, steps)
    assert time.process_time() - start < 6.0  # under three on a machine with nothing else to do
    assert sigma == float(f"{sigma:.4g}")
    assert epsilon([training_event(sigma, rate, steps)], delta) <= target
    less = sigma - 10 ** (math.floor(math.log10(sigma) - 1e-9) - 3)
    assert epsilon([training_event(less, rate, steps)], delta) > target


def test_what_cannot_be_kept_or_makes_no_sense_is_refused() -> None:
    with pytest.raises(PrivacyError, match="no noise gives epsilon"):
        calibrate(1e-9, 1e-9, 1.0, 10**6)
    with pytest.raises(PrivacyError, match="delta"):
        epsilon([GOLDEN], 0.0)
    for bad in (0.0, -1.0, math.nan, math.inf, True):
        with pytest.raises(PrivacyError):
            training_event(bad, 0.1, 10)
        with pytest.raises(PrivacyError):
            metric_event(bad)
    with pytest.raises(PrivacyError):
        training_event(1.0, 1.1, 10)
    with pytest.raises(PrivacyError):
        training_event(1.0, 0.1, 0)


def test_a_hopeless_plan_has_a_figure_all_the_same() -> None:
    """No noise to speak of: large, quick, and without filling the memory."""
    values = [epsilon([training_event(sigma, 0.1, 2000)], 1e-6) for sigma in (0.4, 0.2, 0.05, 0.01, 0.001)]
    assert values == sorted(values)
    assert values[0] > 100


numbers = st.floats(0.01, 100.0)
single = st.one_of(
    numbers.map(lambda sigma: {"type": "gaussian", "noise_multiplier": sigma}),
    numbers.map(lambda eps: {"type": "discrete_laplace", "epsilon": eps}),
    st.tuples(numbers, st.floats(0.001, 1.0)).map(
        lambda pair: {
            "type": "poisson_sampled",
            "sampling_probability": pair[1],
            "event": {"type": "gaussian", "noise_multiplier": pair[0]},
        }
    ),
    st.just({"type": "no_op"}),
)
values = st.recursive(
    single,
    lambda inner: st.one_of(
        st.tuples(st.integers(1, 10**6), inner).map(lambda p: {"type": "self_composed", "count": p[0], "event": p[1]}),
        st.lists(inner, max_size=3).map(lambda events: {"type": "composed", "events": events}),
    ),
    max_leaves=8,
)


@given(values)
def test_every_event_survives_the_ledger(value: dict[str, object]) -> None:
    assert encode(decode(json.loads(json.dumps(value)))) == value


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"type": "laplace", "noise_multiplier": 1.0},
        {"type": "gaussian"},
        {"type": "gaussian", "noise_multiplier": 0.0},
        {"type": "gaussian", "noise_multiplier": "1"},
        {"type": "gaussian", "noise_multiplier": True},
        {"type": "gaussian", "noise_multiplier": math.nan},
        {"type": "gaussian", "noise_multiplier": 1.0, "more": 1},
        {"type": "poisson_sampled", "sampling_probability": 1.5, "event": {"type": "gaussian", "noise_multiplier": 1.0}},
        {"type": "poisson_sampled", "sampling_probability": 0.5, "event": {"type": "discrete_laplace", "epsilon": 1.0}},
        {"type": "self_composed", "count": 0, "event": {"type": "no_op"}},
        {"type": "self_composed", "count": True, "event": {"type": "no_op"}},
        {"type": "self_composed", "count": 1.5, "event": {"type": "no_op"}},
    ],
)
def test_unknown_events_are_refused(value: object) -> None:
    with pytest.raises(LedgerError):
        decode(value)


@pytest.mark.parametrize("event", [dpa.LaplaceDpEvent(1.0), dpa.NonPrivateDpEvent(), DiscreteLaplaceDpEvent(1.0, 2), "x"])
def test_what_has_no_code_is_not_written(event: object) -> None:
    with pytest.raises(LedgerError):
        encode(event)
