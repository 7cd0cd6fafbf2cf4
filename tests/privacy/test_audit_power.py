"""What the audit must see: each bug is put into the step that trains, at a claimed epsilon of 2; the correct step must pass."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from privacy import clipping
from privacy import step as step_module
from privacy.audit import sampler_tests
from privacy.audit.noise_tests import noise_findings
from privacy.audit.run import ALARMS, audit
from privacy.audit.sampler_tests import sampler_findings
from privacy.audit.sensitivity import sensitivity_findings
from privacy.audit.stream import NoisedSums
from privacy.audit.subject import Subject, subject_of
from privacy.clipping import PatientSum
from privacy.randomness import Integers, SecureBits, sample_patients
from privacy.step import PrivateStep
from protocol.errors import InputError, PrivacyError
from tests.conftest import PRIVATE, tiny_plan
from tests.privacy.audit_bugs import clip_each_image, flagged, measured_ratio
from tests.privacy.fixed_bits import fix


@pytest.fixture(autouse=True)
def _fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    fix(monkeypatch)
    monkeypatch.setattr(sampler_tests, "_DRAWS", 4000)  # a fifth, for speed; tests that need the sharper eye undo it


def subject(epsilon: float = 2.0, rounds: int = 6, **privacy: Any) -> Subject:
    """6 rounds of 3 steps at rate 0.5, calibrated for `epsilon`."""
    part = {"mechanism": "local", "epsilon": epsilon, "batch_patients": 5, "sampling_rate": 0.5, "metrics_epsilon": 0.01}
    plan = tiny_plan(**PRIVATE | {"privacy": part | privacy, "federation.rounds": rounds})
    return subject_of(plan)


def noise_times(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    right = PatientSum.noised

    def noised(self: PatientSum, noise_multiplier: float, bits: SecureBits | None = None) -> torch.Tensor:
        if factor == 0.0:
            return torch.from_numpy((self.integers() * (self.clip_norm / 2**20)).astype(np.float32))
        return right(self, noise_multiplier * factor, bits)

    monkeypatch.setattr(PatientSum, "noised", noised)


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 8.0])
def test_the_correct_step_passes(epsilon: float) -> None:
    audited = subject(epsilon)
    for _ in range(3):
        report = audit(audited)
        assert not report.violations, report.conclusion
        assert report.bound.epsilon <= report.subject.epsilon <= epsilon
        assert report.runs == 1
        assert report.conclusion == (
            f"no violation found; lower bound {report.bound.epsilon:.2f} at 95% under a white-box adversary who sees every "
            "noised sum and chose the patients' gradients"
        )


def test_the_bound_of_the_correct_step_is_not_vacuous() -> None:
    assert audit(subject(8.0), canaries=1000).bound.epsilon > 1.0


@pytest.mark.parametrize(
    "privacy",
    [{"sampling": "full"}, {"sampling_rate": 0.01}, {"sampling_rate": 0.97}, {"clip_norm": 7e-4}, {"max_silos_per_patient": 2}],
)
def test_correct_steps_of_other_plans_pass(privacy: dict[str, Any]) -> None:
    report = audit(subject(2.0, rounds=4, **privacy), canaries=200)
    assert not report.violations, report.conclusion


def test_clipping_each_image_by_itself_is_flagged_by_canaries_and_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    clip_each_image(monkeypatch)
    report = audit(subject())
    assert flagged(report.findings) == {"canaries", "sensitivity"}
    assert report.runs == ALARMS
    assert report.bound.epsilon > 2.0
    assert report.conclusion.startswith("VIOLATION: ")
    assert "each image is clipped by itself" in report.conclusion


def test_missing_noise_is_flagged_by_canaries_and_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    noise_times(0.0, monkeypatch)
    report = audit(subject())
    assert {"canaries", "noise: size", "noise: empty steps"} <= flagged(report.findings)
    assert report.bound.epsilon > 3.0


def test_one_of_ten_shares_of_noise_missing_is_flagged_by_the_variance_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    noise_times(math.sqrt(0.9), monkeypatch)
    report = audit(subject(), canaries=200)
    assert flagged(report.findings) == {"noise: size"}
    assert measured_ratio(report.conclusion) == pytest.approx(math.sqrt(0.9), abs=0.01)


@pytest.mark.parametrize("factor", [0.985, 1.015])
def test_one_and_a_half_percent_of_noise_too_little_or_too_much_is_flagged(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise_times(factor, monkeypatch)
    assert flagged(noise_findings(subject().stream)) == {"noise: size"}


def test_noise_that_is_used_twice_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    right, kept = PatientSum.noised, []

    def noised(self: PatientSum, noise_multiplier: float, bits: SecureBits | None = None) -> torch.Tensor:
        kept.append(right(self, noise_multiplier, bits))
        return kept[0]

    monkeypatch.setattr(PatientSum, "noised", noised)
    assert flagged(noise_findings(subject().stream)) == {"noise: next step"}


def test_noise_of_another_shape_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)

    def noised(self: PatientSum, noise_multiplier: float, bits: SecureBits | None = None) -> torch.Tensor:
        spread = noise_multiplier * self.clip_norm
        return torch.from_numpy(rng.laplace(0.0, spread / math.sqrt(2.0), self.size).astype(np.float32))

    monkeypatch.setattr(PatientSum, "noised", noised)
    assert "noise: shape" in flagged(noise_findings(subject().stream))


def test_skipped_empty_batches_are_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    right = PatientSum.noised

    def noised(self: PatientSum, noise_multiplier: float, bits: SecureBits | None = None) -> torch.Tensor:
        return right(self, noise_multiplier, bits) if self.integers().any() else torch.zeros(self.size)

    monkeypatch.setattr(PatientSum, "noised", noised)
    assert "noise: empty steps" in flagged(noise_findings(subject().stream))


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("factor", [2.0, 1.1])
def test_a_sampler_with_a_higher_rate_is_flagged(rate: float, factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_tests, "_DRAWS", 20_000)
    monkeypatch.setattr(step_module, "sample_patients", lambda n, q, bits: sample_patients(n, min(1.0, q * factor), bits))
    assert "sampling: rate" in flagged(sampler_findings(NoisedSums(PrivateStep(1.0, 1.0, rate, 5))))


def test_batches_of_fixed_size_are_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)

    def fixed(n: int, rate: float, bits: SecureBits) -> Integers:
        return np.sort(rng.permutation(n)[: round(n * rate)]).astype(np.int64)

    monkeypatch.setattr(step_module, "sample_patients", fixed)
    assert flagged(sampler_findings(NoisedSums(PrivateStep(1.0, 1.0, 0.1, 5)))) == {"sampling: all pairs"}


def test_shuffled_epochs_are_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, left = np.random.default_rng(0), np.empty(0, dtype=np.int64)

    def epochs(n: int, rate: float, bits: SecureBits) -> Integers:
        nonlocal left
        left = left if len(left) else rng.permutation(n).astype(np.int64)
        batch, left = np.split(left, [round(n * rate)])
        return np.sort(batch)

    monkeypatch.setattr(step_module, "sample_patients", epochs)
    assert {"sampling: next step", "sampling: each patient"} <= flagged(
        sampler_findings(NoisedSums(PrivateStep(1.0, 1.0, 0.1, 5)))
    )


def test_patients_that_come_in_pairs_are_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    def pairs(n: int, rate: float, bits: SecureBits) -> Integers:
        first = 2 * sample_patients(n // 2, rate, bits)
        return np.sort(np.append(first, first + 1))

    monkeypatch.setattr(step_module, "sample_patients", pairs)
    found = flagged(sampler_findings(NoisedSums(PrivateStep(1.0, 1.0, 0.1, 5))))
    assert {"sampling: neighbours", "sampling: all pairs"} <= found


def test_one_patient_left_out_of_full_batches_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_module, "sample_patients", lambda n, q, bits: np.arange(n - 1, dtype=np.int64))
    assert flagged(sampler_findings(NoisedSums(PrivateStep(1.0, 1.0, 1.0, 5)))) == {"sampling: rate"}


def test_a_norm_that_is_computed_a_little_too_small_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    """One part in 2^9: one patient then adds a little more than 2^20."""
    right = clipping._norm
    monkeypatch.setattr(clipping, "_norm", lambda blocks: right(blocks) * (1 - 2.0**-9))
    assert flagged(sensitivity_findings(NoisedSums(PrivateStep(1.0, 1.0, 0.1, 5)))) == {"sensitivity"}


def test_a_batch_statistic_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every patient is divided by the number of patients so far: without one, the others' parts change."""
    right = PatientSum.add

    def add(self: Any, gradient: Any) -> None:
        self.before = getattr(self, "before", 0) + 1
        right(self, [part / self.before for part in gradient])

    monkeypatch.setattr(PatientSum, "add", add)
    assert "sensitivity: additivity" in flagged(sensitivity_findings(NoisedSums(PrivateStep(1.0, 1.0, 0.1, 5))))


def test_repeated_runs_are_pooled_and_sharpen_the_bound() -> None:
    audited = dataclasses.replace(
        subject(8.0), steps=12, epsilon=20.0
    )  # fewer steps than were calibrated for: only pooling counts
    once, pooled = audit(audited, canaries=300), audit(audited, canaries=300, repeat=6)
    assert pooled.bound.canaries == 1800
    assert pooled.ceiling > once.ceiling
    assert len(pooled.scores.scores) == 1800


def test_progress_is_told_and_ends_at_the_total() -> None:
    seen: list[tuple[str, int, int]] = []
    audit(subject(rounds=2), canaries=100, tick=lambda *args: seen.append(args))
    assert [what for what, _, _ in seen[:3]] == ["sensitivity", "noise", "sampling"]
    assert seen[-1] == ("canaries", 6, 6)


def test_a_plan_without_a_mechanism_has_nothing_to_audit() -> None:
    with pytest.raises(PrivacyError, match="epsilon: infinite; there is nothing to audit"):
        subject_of(tiny_plan(privacy={"mechanism": "none"}))


@pytest.mark.parametrize(("canaries", "repeat"), [(99, 1), (1000, 0)])
def test_too_few_canaries_are_refused(canaries: int, repeat: int) -> None:
    with pytest.raises(InputError):
        audit(subject(), canaries, repeat)


def test_a_patient_at_two_hospitals_is_in_twice_as_many_sums() -> None:
    assert subject(max_silos_per_patient=2).steps == 2 * subject().steps
    assert subject(max_images_per_patient=1).images == 1
    assert subject().images == 4
