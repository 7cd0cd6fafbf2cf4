"""Local training: optimiser steps on the silo's own images, held near the global model by FedProx."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from protocol.errors import DeadlineError, TrainingError
from protocol.network import logits
from protocol.plan import Plan
from protocol.schedule import lr_factor
from protocol.seeds import derive_seed
from silo_node.training.batches import Indices, batches, n_steps
from silo_node.training.cohort import Cohort
from silo_node.training.device import autocast
from silo_node.training.model import SiloModel
from silo_node.training.objective import Objective, proximal_step, squared_distance
from silo_node.training.optimiser import build_optimiser
from silo_node.training.transforms import Pipeline

_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Outcome:
    """What training did: mean loss over its steps, mu/2 |w - w_global|^2 at the end, number of steps, and of how many."""

    loss: float
    proximal: float
    steps: int
    planned: int


class Trainer:
    """Trains one SiloModel on one Cohort. Every call is a function of its arguments and the model's current weights."""

    def __init__(self, plan: Plan, cohort: Cohort, model: SiloModel, site: str) -> None:
        self._plan, self._cohort, self._model, self._site = plan, cohort, model, site
        self._augment = Pipeline(plan.data.augmentation, "data.augmentation")
        counts = cohort.class_counts("train", len(plan.task.classes))
        self._objective = model.own_loss or Objective(plan.training.loss, counts, model.device)
        self._positions = np.array(cohort.parts.train, dtype=np.int64)

    def round(self, number: int, deadline: float) -> Outcome:
        """One FedProx round from the model's current weights; `deadline` is a time.monotonic() value."""
        training = self._plan.training
        anchor = [parameter.detach().clone() for parameter in self._model.shared_parameters()]
        factor = lr_factor(training.schedule, number, self._plan.federation.rounds)
        optimiser = build_optimiser(training.optimizer, self._model.network.parameters(), factor)
        planned = n_steps(training, len(self._positions))
        pull = training.mu * training.optimizer.lr * factor
        enough = math.inf if training.max_seconds is None else time.monotonic() + training.max_seconds
        loss, steps = self._steps(optimiser, planned, ("round", number), deadline, anchor, pull, enough)
        shared = self._model.shared_parameters()
        return Outcome(loss, 0.5 * training.mu * squared_distance(shared, anchor), steps, planned)

    @torch.no_grad()
    def loss(self) -> float:
        """What training minimises, on all training images as they are, under the model's current weights.

        Weighted classes are averaged chunk by chunk, so `balanced` is that of the chunks, as it is of batches in training.
        """
        network, device, total = self._model.network.eval(), self._model.device, 0.0
        for chunk in np.array_split(self._positions, max(1, -(-len(self._positions) // _CHUNK))):
            images = self._model.to_device(torch.from_numpy(self._cohort.images[chunk]))
            labels = torch.from_numpy(self._cohort.labels[chunk]).to(device)
            total += len(chunk) * self._objective(logits(network, images).float(), labels).item()
        return total / max(1, len(self._positions))

    def alone(self, deadline: float, on_round: Callable[[int], None]) -> None:
        """What this hospital would have had alone: as many steps, the same schedule, no global model, one optimiser."""
        training, rounds = self._plan.training, self._plan.federation.rounds
        optimiser = build_optimiser(training.optimizer, self._model.network.parameters(), 1.0)
        steps = n_steps(training, len(self._positions))
        for number in range(1, rounds + 1):
            for group in optimiser.param_groups:
                group["lr"] = training.optimizer.lr * lr_factor(training.schedule, number, rounds)
            self._steps(optimiser, steps, ("alone", number), deadline)
            on_round(number)

    def personalise(self, deadline: float) -> None:
        """Fine-tune every weight for evaluation.personalise_epochs passes, without a proximal term."""
        training, evaluation = self._plan.training, self._plan.evaluation
        optimiser = build_optimiser(training.optimizer, self._model.network.parameters(), evaluation.personalise_lr_factor)
        steps = evaluation.personalise_epochs * -(-len(self._positions) // training.batch_size)
        self._steps(optimiser, steps, ("personalise",), deadline)

    def _steps(
        self,
        optimiser: torch.optim.Optimizer,
        steps: int,
        purpose: tuple[str | int, ...],
        deadline: float,
        anchor: Sequence[torch.Tensor] | None = None,
        strength: float = 0.0,
        enough: float = math.inf,
    ) -> tuple[float, int]:
        """The mean loss and the number of steps done: `steps`, or fewer once it is `enough` (time.monotonic())."""
        plan, network, device = self._plan, self._model.network, self._model.device
        seed = derive_seed(plan.seed, self._site, *purpose)
        self._model.seed(seed)
        self._augment.seed(seed)
        shared = self._model.shared_parameters()
        network.train()
        total, done = torch.zeros((), device=device), 0
        for batch in batches(plan.training, self._positions, self._cohort.labels, steps, seed):
            if done and time.monotonic() > enough:
                break
            if time.monotonic() > deadline:
                raise DeadlineError(
                    "training did not end before the deadline; raise federation.round_deadline_s or do fewer steps."
                )
            images, labels = self._load(batch)
            with autocast(device, plan.training.mixed_precision):
                loss = self._objective(logits(network, images).float(), labels)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if plan.training.clip_grad_norm is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), plan.training.clip_grad_norm)
            optimiser.step()
            if anchor is not None and strength > 0.0:
                proximal_step(shared, anchor, strength)
            total += loss.detach()
            done += 1
        mean = total.item() / max(1, done)
        if not math.isfinite(mean):
            raise TrainingError(f"the training loss became {mean}; lower training.optimizer.lr or set training.clip_grad_norm.")
        return mean, done

    def _load(self, batch: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.from_numpy(self._cohort.images[batch])
        if not self._augment.empty:
            images = torch.stack([self._augment(image) for image in images])
        return self._model.to_device(images), torch.from_numpy(self._cohort.labels[batch]).to(self._model.device)
