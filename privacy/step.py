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

_log = logging.getLogger(__name__)

Batch = Callable[[int, SecureBits], tuple[torch.Tensor, torch.Tensor]]
"""Patient number -> that patient's images (n, C, ...) and labels (n, ...), n >= 1, on the network's device."""
Turn = Callable[[], AbstractContextManager[object]]
"""The context in which one patient's gradient is calculated: a precision, a process of its own."""


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
        turn: Turn = nullcontext,
        bits: SecureBits | None = None,
    ) -> torch.Tensor:
        """(sum of the sampled patients' clipped gradients + noise) / batch_patients, shape (trainable values,), float32.

        Of `patients` patients those are asked for with `batch` that were sampled; if it is nobody, noise alone is returned.
        `turn()` is the context of one patient's gradient. `bits` draws patients and noise.
        """
        bits = bits or SecureBits()
        total = self.sum(network, loss, patients, batch, bits, turn)
        return total.noised(self.noise_multiplier, bits) / self.batch_patients

    def part(
        self,
        share: float,
        network: nn.Module,
        loss: Loss,
        patients: int,
        batch: Batch,
        bits: SecureBits,
        turn: Turn = nullcontext,
    ) -> Integers:
        """One hospital's part of a sum over hospitals: its patients' sum and noise of standard deviation `share` clip norms.

        Shape (trainable values,), in steps of clip_norm / 2^20. A share is less than the noise: only masked may it leave.
        """
        total = self.sum(network, loss, patients, batch, bits, turn).integers()
        total += discrete_gaussian(total.size, share * SCALE, bits)
        return total

    def sum(
        self,
        network: nn.Module,
        loss: Loss,
        patients: int,
        batch: Batch,
        bits: SecureBits,
        turn: Turn = nullcontext,
    ) -> PatientSum:
        """The sum without noise: it must not leave the hospital as it is.

        A patient on whom anything fails adds zero, like one whose gradient is not finite: a failure that showed would tell
        that this patient was drawn.
        """
        learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
        total = PatientSum([parameter.shape for parameter in learned], self.clip_norm, learned[0].device)
        for patient in sample_patients(patients, self.sampling_rate, bits):
            try:
                images, labels = batch(int(patient), bits)
                with turn():
                    gradient = patient_gradients(network, loss, images, labels)
            except Exception:  # no library can be trusted to fail on nobody
                _log.debug("a patient's gradient failed and adds zero", exc_info=True)
                continue
            total.add(gradient)
        return total
