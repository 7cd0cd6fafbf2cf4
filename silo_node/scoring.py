"""How a model scores on a part of the local cohort. Rows stay here; counts, AUROC and histograms may leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from evaluation.scoring import class_scores, with_called
from privacy.randomness import choose
from protocol.messages import ClassScores
from protocol.network import logits
from silo_node.training.cohort import Cohort
from silo_node.training.model import SiloModel

_BATCH = 256
Rows = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """Mean cross-entropy, accuracy, and how well each class is told from the rest."""

    n: int
    loss: float
    accuracy: float
    classes: tuple[ClassScores, ...]


def log_probabilities(model: SiloModel, cohort: Cohort, part: str) -> npt.NDArray[np.float64]:
    """log p(class) of every image of `part`, which is not empty; shape (n, classes)."""
    positions = np.array(cohort.parts.named(part), dtype=np.int64)
    chunks = np.array_split(positions, max(1, -(-len(positions) // _BATCH)))
    return np.concatenate([_rows(model, cohort, chunk) for chunk in chunks])


def patient_by_patient(model: SiloModel, cohort: Cohort, part: str, most: int) -> Rows:
    """The same where patients must not be calculated on together: each patient's images apart, at most `most` in one turn.

    In any order, as in training: a module may go by the clock. Rows on which it fails are NaN.
    """
    positions = np.array(cohort.parts.named(part), dtype=np.int64)
    owners = cohort.patients[positions]
    rows = np.full((len(positions), model.n_classes), np.nan)
    patients = np.unique(owners)
    for patient in patients[choose(len(patients), len(patients))]:
        own = np.flatnonzero(owners == patient)
        for start in range(0, len(own), most):
            chunk = own[start : start + most]
            with suppress(Exception), model.apart():  # a failure that showed would tell of the patient it failed on
                rows[chunk] = _rows(model, cohort, positions[chunk])
    return rows


@torch.no_grad()
def _rows(model: SiloModel, cohort: Cohort, positions: npt.NDArray[np.int64]) -> Rows:
    output = logits(model.network.eval(), model.to_device(torch.from_numpy(cohort.images[positions])))
    rows: Rows = functional.log_softmax(output.double(), dim=1).cpu().numpy()
    return rows


def mix(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Two models' log-probabilities (n, classes), averaged and normalised.

    The logarithmic opinion pool with equal weights (Genest & Zidek, Statistical Science 1986;1:114-135).
    """
    mean = (first + second) / 2.0
    return mean - np.logaddexp.reduce(mean, axis=1, keepdims=True)


def score(
    model: SiloModel,
    cohort: Cohort,
    part: str,
    alone: npt.NDArray[np.float64] | None = None,
    *,
    mixed: bool = False,
    changed: Callable[[Rows], Rows] | None = None,
    thresholds: Sequence[float | None] = (),
) -> Scored | None:
    """Score the model on `part`; None if the part is empty.

    `alone`: `log_probabilities` of the silo's own model on that part, for the covariance with its AUROC. `mixed`: score the
    average of the two models instead of the first. `changed`: what becomes of the rows before they are scored. `thresholds`:
    for each scored class the log-odds from which it is called here, for the counts of who is.
    """
    positions = list(cohort.parts.named(part))
    if not positions:
        return None
    labels = cohort.labels[positions]
    rows = log_probabilities(model, cohort, part)
    if mixed and alone is not None:
        rows = mix(rows, alone)
    if changed is not None:
        rows = changed(rows)
    loss = float(-rows[np.arange(len(labels)), labels].mean())
    accuracy = float((rows.argmax(axis=1) == labels).mean())
    classes = class_scores(labels, rows, alone, cohort.patients[positions])
    return Scored(len(labels), loss, accuracy, with_called(classes, labels, rows, thresholds))
