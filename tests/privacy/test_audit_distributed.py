"""The audit of mechanism distributed: bugs that only a sum of several hospitals can have, at a claimed epsilon of 2."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from pydantic import ValidationError

from privacy import step as private_step
from privacy import step as step_module
from privacy.audit import opened, opening, sampler_tests
from privacy.audit.canaries import Inner, mean_output
from privacy.audit.noise_tests import noise_findings
from privacy.audit.opened import OpenedSums
from privacy.audit.opening import opening_findings
from privacy.audit.run import ALARMS, audit
from privacy.audit.sampler_tests import sampler_findings
from privacy.audit.sensitivity import sensitivity_findings
from privacy.audit.subject import Subject, subject_of
from privacy.clipping import PatientSum
from privacy.noise import discrete_gaussian
from privacy.randomness import Integers, SecureBits, sample_patients
from privacy.secure_aggregation import client
from privacy.secure_aggregation.masking import Unsigned
from privacy.step import PrivateStep
from protocol.errors import InputError, PlanError
from protocol.plan import Plan
from tests.conftest import PRIVATE, tiny_plan
from tests.privacy.audit_bugs import clip_each_image, flagged, measured_ratio
from tests.privacy.fixed_bits import fix


@pytest.fixture(autouse=True)
def _fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    fix(monkeypatch)
    monkeypatch.setattr(sampler_tests, "_DRAWS", 4000)


def plan_of(epsilon: float = 2.0, rounds: int = 12, quorum: int = 2, **privacy: Any) -> Plan:
    part = {"mechanism": "distributed", "epsilon": epsilon, "batch_patients": 5, "sampling_rate": 0.5, "metrics_epsilon": 0.01}
    changes = {
        "privacy": part | {"spare_rounds": 3} | privacy,
        "training": {"mu": 0.0, "local_steps": 1, "optimizer": {"name": "SGD", "lr": 0.1}},
        "federation.strategy": {"name": "FedAvg"},
        "federation.rounds": rounds,
        "federation.quorum": quorum,
    }
    return tiny_plan(**PRIVATE | changes)


def subject(silos: int = 4, **changes: Any) -> Subject:
    return subject_of(plan_of(**changes), silos)


def stream_of(silos: int = 4, **changes: Any) -> OpenedSums:
    stream = subject(silos, **changes).stream
    assert isinstance(stream, OpenedSums)
    return stream


def ten_shares() -> Subject:
    """14 hospitals that must all stay, 4 of which may collude: ten shares make up the noise."""
    audited = subject(14, quorum=14, epsilon=2.0)
    assert isinstance(audited.stream, OpenedSums)
    assert audited.stream.honest == 10
    return audited


def shares_missing(count: int, hospitals: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first `count` of the hospitals of every sum add no noise."""
    calls = 0

    def some(n: int, sigma: float, bits: SecureBits | None = None) -> Integers:
        nonlocal calls
        noise = discrete_gaussian(n, sigma, bits)
        calls += 1
        return noise * ((calls - 1) % hospitals >= count)

    monkeypatch.setattr(private_step, "discrete_gaussian", some)


@pytest.mark.parametrize("silos", [3, 4, 10])
@pytest.mark.parametrize("epsilon", [2.0, 8.0])
def test_the_correct_federation_passes(silos: int, epsilon: float) -> None:
    report = audit(subject(silos, epsilon=epsilon))
    assert not report.violations, report.conclusion
    assert report.bound.epsilon <= report.subject.epsilon <= epsilon
    assert report.runs == 1


@pytest.mark.parametrize(
    "privacy", [{"sampling": "full"}, {"sampling_rate": 0.01}, {"clip_norm": 7e-4}, {"width_bits": 64}, {"batch_patients": 120}]
)
def test_correct_federations_of_other_plans_pass(privacy: dict[str, Any]) -> None:
    report = audit(subject(4, rounds=5, **privacy), canaries=200)
    assert not report.violations, report.conclusion


def test_the_bound_of_the_correct_federation_is_not_vacuous() -> None:
    assert audit(subject(4, epsilon=8.0), canaries=1000).bound.epsilon > 1.0


def test_every_round_that_was_paid_for_is_audited() -> None:
    assert subject(rounds=12).steps == 12 + 3


@pytest.mark.parametrize(
    ("silos", "quorum", "survivors", "colluders", "honest"),
    [(3, 2, 3, 0, 3), (4, 2, 3, 1, 2), (4, 4, 4, 1, 3), (10, 2, 7, 3, 4)],
)
def test_the_sums_hold_as_few_hospitals_as_they_may(
    silos: int, quorum: int, survivors: int, colluders: int, honest: int
) -> None:
    stream = stream_of(silos, quorum=quorum)
    assert (stream.manifest.min_survivors, stream.manifest.colluders, stream.honest) == (survivors, colluders, honest)
    assert stream.share == pytest.approx(stream.step.noise_multiplier / math.sqrt(honest))
    assert f"{honest} shares" in stream.detail
    assert stream.mechanism["silos"] == silos


@pytest.mark.parametrize(("quorum", "silos"), [(2, 4), (3, 3), (7, 7)])
def test_the_quorum_says_how_many_hospitals_unless_told(quorum: int, silos: int) -> None:
    stream = subject_of(plan_of(quorum=quorum)).stream
    assert isinstance(stream, OpenedSums)
    assert len(stream.manifest.roster) == silos


def test_the_adversary_is_the_aggregator_with_as_many_hospitals_as_may_collude() -> None:
    assert stream_of(3).adversary == (
        "a white-box adversary, the aggregator, who sees every opened sum and chose the patients' gradients"
    )
    report = audit(subject(4, rounds=2), canaries=100)
    assert report.conclusion.endswith(
        "at 95% under a white-box adversary, the aggregator with 1 of 4 hospitals, who sees every opened sum, knows those "
        "hospitals' noise and chose the patients' gradients"
    )


def test_one_of_ten_shares_missing_is_flagged_by_the_size_of_the_noise_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shares_missing(1, 14, monkeypatch)
    report = audit(ten_shares(), canaries=200)
    assert flagged(report.findings) == {"noise: size"}
    assert measured_ratio(report.conclusion) == pytest.approx(math.sqrt(0.9), abs=0.01)


def test_ten_shares_that_are_all_there_pass() -> None:
    assert not flagged(noise_findings(ten_shares().stream))


def test_one_of_four_shares_missing_escapes_the_canaries_but_not_the_size_of_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    shares_missing(1, 7, monkeypatch)
    report = audit(subject(10))
    assert flagged(report.findings) == {"noise: size"}
    assert report.bound.epsilon < report.subject.epsilon


def test_a_colluder_s_share_that_is_counted_as_noise_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares for U instead of U - c: colluders subtract theirs, and the rest is too little."""
    monkeypatch.setattr(opened, "noise_share", lambda sigma, manifest: sigma / math.sqrt(manifest.min_survivors))
    assert flagged(noise_findings(stream_of(4))) == {"noise: size"}


@pytest.mark.parametrize("silos", [4, 10])
def test_shares_for_all_hospitals_instead_of_the_fewest_honest_ones_are_flagged(
    silos: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "noise_share", lambda sigma, manifest: sigma / math.sqrt(len(manifest.roster)))
    report = audit(subject(silos), canaries=200)
    assert "noise: size" in flagged(report.findings)
    assert measured_ratio(report.conclusion) == pytest.approx(math.sqrt(stream_of(silos).honest / silos), abs=0.01)


def test_missing_noise_is_flagged_by_canaries_and_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    shares_missing(3, 3, monkeypatch)
    report = audit(subject(4))
    assert {"canaries", "noise: size", "noise: empty steps"} <= flagged(report.findings)
    assert report.bound.epsilon > 3.0


def test_noise_that_hospitals_have_in_common_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    """One key for all: the sum of equal shares is too large, and whoever has the key takes all of it away."""
    key = bytes(range(32))
    monkeypatch.setattr(opened, "SecureBits", lambda: SecureBits.from_key(key))
    assert {"noise: size", "noise: next step"} <= flagged(noise_findings(stream_of(4)))


def test_hospitals_that_draw_the_same_patients_are_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Integers] = []

    def alike(n: int, rate: float, bits: SecureBits) -> Integers:
        drawn.append(sample_patients(n, rate, bits) if len(drawn) % 3 == 0 else drawn[-1])
        return drawn[-1][drawn[-1] < n]

    monkeypatch.setattr(step_module, "sample_patients", alike)
    assert {"sampling: all pairs"} <= flagged(sampler_findings(stream_of(4)))


def test_clipping_each_image_by_itself_is_flagged_by_canaries_and_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    clip_each_image(monkeypatch)
    report = audit(subject(4))
    assert flagged(report.findings) == {"canaries", "sensitivity"}
    assert report.runs == ALARMS
    assert "each image is clipped by itself" in report.conclusion


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_twice_the_rate_is_flagged(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_module, "sample_patients", lambda n, q, bits: sample_patients(n, min(1.0, 2 * q), bits))
    assert "sampling: rate" in flagged(sampler_findings(stream_of(4, sampling_rate=rate)))


def test_a_batch_statistic_inside_a_hospital_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    right = PatientSum.add

    def add(self: Any, gradient: Any) -> None:
        self.before = getattr(self, "before", 0) + 1
        right(self, [part / self.before for part in gradient])

    monkeypatch.setattr(PatientSum, "add", add)
    assert "sensitivity: additivity" in flagged(sensitivity_findings(stream_of(10)))


def test_a_width_in_which_the_sum_wraps_around_is_flagged() -> None:
    stream = stream_of(4)
    narrow = dataclasses.replace(stream, manifest=replace(stream.manifest, width_bits=16))
    assert "sensitivity: additivity" in flagged(sensitivity_findings(narrow))
    assert {"noise: size", "noise: shape"} <= flagged(noise_findings(narrow))


@pytest.mark.parametrize("width", [32, 64])
def test_a_sum_that_goes_through_floats_is_flagged(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 holds 24 bits: the last digits of value plus noise are lost."""
    right = PrivateStep.part

    def through_floats(*arguments: Any) -> Integers:
        return right(*arguments).astype(np.float32).astype(np.int64)

    monkeypatch.setattr(PrivateStep, "part", through_floats)
    stream = stream_of(4, width_bits=width)
    coarse = dataclasses.replace(stream, step=dataclasses.replace(stream.step, noise_multiplier=40.0))
    assert "sensitivity: additivity" in flagged(sensitivity_findings(coarse))


def test_the_sum_of_the_shares_is_what_the_aggregator_opens_but_for_the_colluders_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """By Python's integers: the parts of the honest hospitals, nothing of the colluders', centred on 0."""
    parts: list[Integers] = []
    right = PrivateStep.part

    def kept(*arguments: Any) -> Integers:
        parts.append(right(*arguments))
        return parts[-1]

    monkeypatch.setattr(PrivateStep, "part", kept)
    stream = stream_of(10)
    seen = stream.released(Inner(5), mean_output, 0, lambda *_: (torch.zeros(1, 5), torch.zeros(1)))
    assert len(parts) == 7
    assert [round(value * 2**20) for value in seen] == [sum(int(part[i]) for part in parts[:4]) for i in range(5)]


@pytest.mark.parametrize(("silos", "width"), [(3, 32), (4, 64), (10, 32)])
def test_secure_aggregation_opens_the_sum_and_nothing_else(silos: int, width: int) -> None:
    findings = opening_findings(stream_of(silos, width_bits=width).manifest)
    assert [finding.name for finding in findings] == ["opening: sum", "opening: one upload", "opening: too few"]
    assert not flagged(findings)


@pytest.mark.parametrize(
    ("module", "name", "bug", "found"),
    [
        (client, "add_masks", lambda vector, *_: vector.copy(), {"opening: sum", "opening: one upload"}),
        (opening, "open_sum", lambda _state, total: total, {"opening: sum"}),
        (client, "check_enough", lambda *_: None, {"opening: too few"}),
    ],
)
def test_uploads_without_masks_and_sums_of_too_few_are_flagged(
    module: Any, name: str, bug: Callable[..., Unsigned | None], found: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, bug)
    assert flagged(opening_findings(stream_of(4).manifest)) == found


def test_a_patient_at_two_hospitals_of_one_sum_is_refused_by_the_plan() -> None:
    """One sum of sensitivity 2 C costs more than two sums of sensitivity C, which is what epsilon is computed from."""
    with pytest.raises(ValidationError, match="max_silos_per_patient"):
        subject(4, max_silos_per_patient=2)


def test_hospitals_that_do_not_fit_the_plan_are_refused() -> None:
    with pytest.raises(InputError, match=r"--silos 4: federation.quorum is 5"):
        subject(4, quorum=5)
    with pytest.raises(PlanError, match="take 64"):
        subject(10, batch_patients=120)
    with pytest.raises(InputError, match="leave it out"):
        subject_of(tiny_plan(**PRIVATE), 4)
