"""Patient-level DP-SGD held near the global model by FedProx: one clipped gradient a patient, noise on every sum.

Abadi et al., "Deep learning with differential privacy", CCS 2016, with the patient as the unit; the proximal step stays
outside the clipping, because given the noised iterate it depends on no patient (docs/privacy.md).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import torch

from privacy.guarantee import Guarantee
from privacy.randomness import Integers, SecureBits, choose
from privacy.step import PrivateStep, Turns
from privacy.turns import turns_per_step
from protocol.network import first_output
from protocol.plan import Plan
from protocol.plan.privacy import PatientPrivacy
from protocol.schedule import lr_factor
from protocol.vectors import Vector
from silo_node.training.batches import Indices
from silo_node.training.cohort import Cohort
from silo_node.training.device import autocast
from silo_node.training.model import SiloModel
from silo_node.training.objective import Objective, proximal_step
from silo_node.training.optimiser import build_optimiser
from silo_node.training.transforms import Pipeline


class PrivateTrainer:
    """Trains one SiloModel on one Cohort so that what comes out is differentially private for each patient.

    Everything random comes from the operating system, dropout and augmentation too: a fixed stream of numbers would be
    consumed differently without a patient, and the others' gradients would move with it.
    """

    def __init__(self, plan: Plan, privacy: PatientPrivacy, guarantee: Guarantee, cohort: Cohort, model: SiloModel) -> None:
        self._plan, self._privacy, self._guarantee = plan, privacy, guarantee
        self._cohort, self._model = cohort, model
        self._augment = Pipeline(plan.data.augmentation, "data.augmentation")
        n_classes = len(plan.task.classes)
        nothing = np.zeros(n_classes, dtype=np.int64)  # no balancing by counts: they are data
        self._objective = model.own_loss or Objective(plan.training.loss, nothing, model.device, by_image=True)
        self._patients = _images_by_patient(cohort)
        self._step = PrivateStep(privacy.clip_norm, guarantee.noise_multiplier, guarantee.sampling_rate, privacy.batch_patients)
        self._turns = self._turns_of(plan, privacy, cohort)

    def round(self, number: int, bits: SecureBits) -> None:
        """The steps of one round from the model's current weights, everything random drawn from `bits`.

        There is no deadline: stopping early, or failing, would tell how many patients were drawn.
        """
        training = self._plan.training
        anchor = [parameter.detach().clone() for parameter in self._model.shared_parameters()]
        factor = lr_factor(training.schedule, number, self._plan.federation.rounds)
        learned = [parameter for parameter in self._model.network.parameters() if parameter.requires_grad]
        optimiser = build_optimiser(training.optimizer, learned, factor)
        dropout, augmentation = (int(word) >> 1 for word in bits.words(2))
        self._model.seed(dropout)
        self._augment.seed(augmentation)
        self._model.network.train()
        self._model.retime()

        for _ in range(self._guarantee.steps_per_round):
            network, patients = self._model.network, len(self._patients)
            _set_gradients(learned, self._step.mean(network, self._loss, patients, self._patient, self._turns, bits))
            optimiser.step()
            if training.mu > 0.0:
                proximal_step(self._model.shared_parameters(), anchor, training.mu * training.optimizer.lr * factor)

    def summed(self, vector: Vector, share: float, bits: SecureBits) -> Integers:
        """One step's sum of clipped gradients at the global model, on the grid of clip_norm / 2^20, plus this hospital's share
        of the noise, of standard deviation `share` clip norms; shape (shared values,). Only masked may it leave.
        """
        self._model.load(vector, None)
        dropout, augmentation = (int(word) >> 1 for word in bits.words(2))
        self._model.seed(dropout)
        self._augment.seed(augmentation)
        network = self._model.network.train()
        self._model.retime()

        return self._step.part(share, network, self._loss, len(self._patients), self._patient, bits, self._turns)

    def _turns_of(self, plan: Plan, privacy: PatientPrivacy, cohort: Cohort) -> Turns:
        """One patient after the other; apart from all others, in turns, where the plan's own module is asked."""

        def precision() -> AbstractContextManager[object]:
            return autocast(self._model.device, plan.training.mixed_precision)

        if plan.code is None or not self._model.each_apart:
            return Turns(self._model.apart, precision)
        n = privacy.max_images_per_patient * privacy.views
        blank = self._model.to_device(torch.zeros(n, *cohort.input_shape)), torch.zeros(n, dtype=torch.int64)
        return Turns(self._model.apart, precision, turns_per_step(plan.code, privacy), lambda: blank)

    def _patient(self, patient: int, bits: SecureBits) -> tuple[torch.Tensor, torch.Tensor]:
        return self._batch(self._drawn(self._patients[patient], bits))

    def _drawn(self, images: Indices, bits: SecureBits) -> Indices:
        most = self._privacy.max_images_per_patient
        return images if len(images) <= most else images[choose(len(images), most, bits)]

    def _batch(self, batch: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        batch = np.repeat(batch, self._privacy.views)
        images = torch.from_numpy(self._cohort.images[batch])
        if not self._augment.empty:
            images = torch.stack([self._augment(image) for image in images])
        labels = torch.from_numpy(self._cohort.labels[batch]).to(self._model.device)
        return self._model.to_device(images), labels

    def _loss(self, output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self._objective(first_output(output).float(), labels)


def _images_by_patient(cohort: Cohort) -> list[Indices]:
    """Positions of the training images of each training patient."""
    train = np.array(cohort.parts.train, dtype=np.int64)
    owners = cohort.patients[train]
    order = np.argsort(owners, kind="stable")
    _, starts = np.unique(owners[order], return_index=True)
    return np.split(train[order], starts[1:]) if len(train) else []


@torch.no_grad()
def _set_gradients(parameters: list[torch.nn.Parameter], flat: torch.Tensor) -> None:
    start = 0
    for parameter in parameters:
        stop = start + parameter.numel()
        parameter.grad = flat[start:stop].view(parameter.shape)
        start = stop
