"""One step of patient-level DP-SGD, from the sampling of patients to the noised mean gradient. Training and the audit run this.

Abadi et al., "Deep learning with differential privacy", CCS 2016, algorithm 1, with the patient as the unit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from privacy.clipping import SCALE, PatientSum
from privacy.noise import discrete_gaussian
from privacy.per_patient import Loss, patient_gradients
from privacy.randomness import Integers, SecureBits, sample_patients
from privacy.turns import places

_log = logging.getLogger(__name__)

Batch = Callable[[int, SecureBits], tuple[torch.Tensor, torch.Tensor]]
"""Patient number -> that patient's images (n, C, ...) and labels (n, ...), n >= 1, on the network's device."""
Turn = Callable[[], AbstractContextManager[object]]
"""A context in which one patient is calculated on: a precision, a process of its own."""


@dataclass(frozen=True)
class Turns:
    """How patients are calculated on: each as soon as the one before is done, or in `number` turns of a public length.

    `each()` is the context of a turn, `precision()` that of its gradient, `blank()` what a turn that is nobody's calculates on.
    """

    each: Turn = nullcontext
    precision: Turn = nullcontext
    number: int | None = None
    blank: Callable[[], tuple[torch.Tensor, torch.Tensor]] | None = None


AT_ONCE = Turns()


@dataclass(frozen=True)
class PrivateStep:
    """What the plan fixes about every step. Numbers out of range are refused by what uses them, as PrivacyError."""

    clip_norm: float
    noise_multiplier: float
    """Standard deviation of the noise in units of clip_norm."""
    sampling_rate: float
    """Chance of each patient to be in the step; 1 takes everybody."""
    batch_patients: int
    """Public number by which the noised sum is divided."""

    def mean(
        self,
        network: nn.Module,
        loss: Loss,
        patients: int,
        batch: Batch,
        turns: Turns = AT_ONCE,
        bits: SecureBits | None = None,
    ) -> torch.Tensor:
        """(sum of the sampled patients' clipped gradients + noise) / batch_patients, shape (trainable values,), float32.

        Of `patients` patients those are asked for with `batch` that were sampled; if it is nobody, noise alone is returned.
        `bits` draws patients, their turns and noise.
        """
        bits = bits or SecureBits()
        total = self.sum(network, loss, patients, batch, bits, turns)
        return total.noised(self.noise_multiplier, bits) / self.batch_patients

    def part(
        self,
        share: float,
        network: nn.Module,
        loss: Loss,
        patients: int,
        batch: Batch,
        bits: SecureBits,
        turns: Turns = AT_ONCE,
    ) -> Integers:
        """One hospital's part of a sum over hospitals: its patients' sum and noise of standard deviation `share` clip norms.

        Shape (trainable values,), in steps of clip_norm / 2^20. A share is less than the noise: only masked may it leave.
        """
        total = self.sum(network, loss, patients, batch, bits, turns).integers()
        total += discrete_gaussian(total.size, share * SCALE, bits)
        return total

    def sum(
        self,
        network: nn.Module,
        loss: Loss,
        patients: int,
        batch: Batch,
        bits: SecureBits,
        turns: Turns = AT_ONCE,
    ) -> PatientSum:
        """The sum without noise: it must not leave the hospital as it is.

        A patient on whom anything fails adds zero, like one whose gradient is not finite: a failure that showed would tell
        that this patient was drawn.
        """
        learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
        total = PatientSum([parameter.shape for parameter in learned], self.clip_norm, learned[0].device)
        for patient in self._drawn(patients, turns, bits):
            try:
                with turns.each():  # all that is done for one patient, so that the next one's turn is not later for it
                    if patient is not None:
                        images, labels = batch(patient, bits)
                    elif turns.blank is not None:
                        images, labels = turns.blank()
                    else:
                        continue
                    with turns.precision():
                        gradient = patient_gradients(network, loss, images, labels)
                    if patient is not None:
                        total.add(gradient)
            except Exception:  # no library can be trusted to fail on nobody
                _log.debug("a patient's gradient failed and adds zero", exc_info=True)
        return total

    def _drawn(self, patients: int, turns: Turns, bits: SecureBits) -> list[int | None]:
        drawn = [int(patient) for patient in sample_patients(patients, self.sampling_rate, bits)]
        if turns.number is None:
            return list(drawn)
        return [None if who is None else drawn[who] for who in places(len(drawn), turns.number, bits)]
