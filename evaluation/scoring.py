"""How well a model told the classes apart on a silo's own rows: `ClassScores`, made inside the hospital."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.histograms import histogram
from evaluation.metrics import delong
from protocol.errors import EvaluationError
from protocol.messages import ClassScores


def class_scores(labels: NDArray[np.integer], log_probabilities: NDArray[np.floating]) -> tuple[ClassScores, ...]:
    """One ClassScores for two classes (class 1 against class 0), one per class otherwise (each against the rest).

    `labels` (n,) are class indices, `log_probabilities` (n, n_classes) natural logs; a constant added to a row changes
    nothing, so logits will do. n may be 0. Raises EvaluationError on NaN, on labels out of range or on unequal lengths.
    """
    labels, logs = np.asarray(labels), np.asarray(log_probabilities, dtype=np.float64)
    if logs.ndim != 2 or labels.shape != logs.shape[:1]:
        raise EvaluationError(f"labels {labels.shape} do not belong to log-probabilities {logs.shape}.")
    n_classes = logs.shape[1]
    if n_classes < 2:
        raise EvaluationError(f"log-probabilities have {n_classes} column; a binary task needs two, one per class.")
    if labels.size and not (np.issubdtype(labels.dtype, np.integer) and 0 <= labels.min() <= labels.max() < n_classes):
        raise EvaluationError(f"labels must be class indices from 0 to {n_classes - 1}.")
    if np.isnan(logs).any() or not np.isfinite(logs.max(axis=1)).all():
        raise EvaluationError("a log-probability is not a number; the model diverged, so there is nothing to score.")
    classes = (1,) if n_classes == 2 else range(n_classes)
    return tuple(_one_class(labels == index, _log_odds(logs, index)) for index in classes)


def _log_odds(log_probabilities: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    """log p - log(1 - p) of one class; 1 - p is summed over the others, so nothing is lost where p is nearly 1."""
    rest = np.logaddexp.reduce(np.delete(log_probabilities, index, axis=1), axis=1)
    log_odds: NDArray[np.float64] = log_probabilities[:, index] - rest
    return log_odds


def _one_class(labels: NDArray[np.bool_], log_odds: NDArray[np.float64]) -> ClassScores:
    auroc, variance = delong(labels, log_odds) or (None, None)
    positive, negative = histogram(labels, log_odds)
    return ClassScores(
        n_positive=int(positive.sum()),
        n_negative=int(negative.sum()),
        auroc=auroc,
        auroc_variance=variance,
        histogram_positive=tuple(positive.tolist()),
        histogram_negative=tuple(negative.tolist()),
    )
