"""How a model scores on a part of the local cohort. Rows stay here; counts, AUROC and histograms may leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from evaluation.scoring import class_scores, with_called
from privacy.randomness import SecureBits
from privacy.turns import places
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


def patient_by_patient(model: SiloModel, cohort: Cohort, part: str, most: int, turns: int) -> Rows:
    """The same where patients must not be calculated on together: each patient's images apart, at most `most` in one turn.

    `turns` of them, as in training (privacy/turns.py): those that are nobody's see blank images. Rows on which it fails, or for
    which there is no turn, are NaN.
    """
    positions = np.array(cohort.parts.named(part), dtype=np.int64)
    owners = cohort.patients[positions]
    rows = np.full((len(positions), model.n_classes), np.nan)
    parts = in_turns(owners, most)
    blank = torch.zeros(most, *cohort.input_shape)
    for who in places(len(parts), turns, SecureBits()):
        with suppress(Exception), model.apart():  # a failure that showed would tell of the patient it failed on
            if who is None:
                _log_softmax(model, blank)
            else:
                rows[parts[who]] = _rows(model, cohort, positions[parts[who]])
    return rows


def in_turns(owners: npt.NDArray[Any], most: int) -> list[npt.NDArray[np.int64]]:
    """Positions of each patient's images in `owners`, at most `most` together."""
    of_patients = (np.flatnonzero(owners == patient) for patient in np.unique(owners))
    return [own[start : start + most] for own in of_patients for start in range(0, len(own), most)]


def _rows(model: SiloModel, cohort: Cohort, positions: npt.NDArray[np.int64]) -> Rows:
    return _log_softmax(model, torch.from_numpy(cohort.images[positions]))


@torch.no_grad()
def _log_softmax(model: SiloModel, images: torch.Tensor) -> Rows:
    output = logits(model.network.eval(), model.to_device(images))
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
