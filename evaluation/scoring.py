"""How well a model told the classes apart on a silo's own rows: `ClassScores`, made inside the hospital."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from evaluation.delong import delong, paired_delong
from evaluation.histograms import histogram
from protocol.errors import EvaluationError
from protocol.messages import Called, ClassScores


def class_scores(
    labels: NDArray[np.integer],
    log_probabilities: NDArray[np.floating],
    alone: NDArray[np.floating] | None = None,
    patients: NDArray[np.integer] | None = None,
) -> tuple[ClassScores, ...]:
    """One ClassScores for two classes (class 1 against class 0), one per class otherwise (each against the rest).

    `labels` (n,) are class indices, `log_probabilities` (n, n_classes) natural logs; a constant added to a row changes
    nothing, so logits will do. n may be 0. `alone` (n, n_classes), the same rows under the site's own model, adds the
    covariance with its AUROC; where that model diverged there is none, and the scores stand. `patients` (n,), integer codes,
    says whose image each row is: variance and covariance then allow for several images of one patient, and a class with
    images of one patient only has no AUROC. Raises EvaluationError on NaN in `log_probabilities`, on labels out of range or
    on unequal shapes.
    """
    labels, logs = checked_rows(labels, log_probabilities)
    if not _can_be_ranked(logs):
        raise EvaluationError("a log-probability is not a number; the model diverged, so there is nothing to score.")
    own = None if alone is None else np.asarray(alone, dtype=np.float64)
    if own is not None and own.shape != logs.shape:
        raise EvaluationError(
            f"log-probabilities {logs.shape} and those of the model alone {own.shape} are not of the same rows."
        )
    if own is not None and not _can_be_ranked(own):
        own = None
    return tuple(
        _one_class(labels == index, log_odds(logs, index), None if own is None else log_odds(own, index), patients)
        for index in scored_classes(logs.shape[1])
    )


def with_called(
    classes: tuple[ClassScores, ...],
    labels: NDArray[np.integer],
    log_probabilities: NDArray[np.floating],
    thresholds: Sequence[float | None],
) -> tuple[ClassScores, ...]:
    """`classes` with how many are called at even odds and from `thresholds` on, log-odds for each; unchanged where None."""
    if not thresholds:
        return classes
    labels, logs = checked_rows(labels, log_probabilities)
    indices = scored_classes(logs.shape[1])
    return tuple(
        one if own is None else replace(one, called=_called(labels == index, log_odds(logs, index), own))
        for one, index, own in zip(classes, indices, thresholds, strict=True)
    )


def _called(positive: NDArray[np.bool_], odds: NDArray[np.float64], own: float) -> Called:
    half, at_own = odds >= 0.0, odds >= own
    called = (half & positive, half & ~positive, at_own & positive, at_own & ~positive)
    return Called(*(int(one.sum()) for one in called))


def scored_classes(n_classes: int) -> Sequence[int]:
    """Which classes are scored against the rest: the second of two, or every one."""
    return (1,) if n_classes == 2 else range(n_classes)


def checked_rows(
    labels: NDArray[np.integer], log_probabilities: NDArray[np.floating]
) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """`labels` (n,) and `log_probabilities` (n, n_classes) as float64. Raises EvaluationError unless they belong together."""
    labels, logs = np.asarray(labels), np.asarray(log_probabilities, dtype=np.float64)
    if logs.ndim != 2 or labels.shape != logs.shape[:1]:
        raise EvaluationError(f"labels {labels.shape} do not belong to log-probabilities {logs.shape}.")
    n_classes = logs.shape[1]
    if n_classes < 2:
        raise EvaluationError(f"log-probabilities have {n_classes} column; a binary task needs two, one per class.")
    if labels.size and not (np.issubdtype(labels.dtype, np.integer) and 0 <= labels.min() <= labels.max() < n_classes):
        raise EvaluationError(f"labels must be class indices from 0 to {n_classes - 1}.")
    return labels, logs


def _can_be_ranked(logs: NDArray[np.float64]) -> bool:
    return not np.isnan(logs).any() and bool(np.isfinite(logs.max(axis=1)).all())


def log_odds(log_probabilities: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    """log p - log(1 - p) of one class; 1 - p is summed over the others, so nothing is lost where p is nearly 1."""
    rest = np.logaddexp.reduce(np.delete(log_probabilities, index, axis=1), axis=1)
    odds: NDArray[np.float64] = log_probabilities[:, index] - rest
    return odds


def _one_class(
    labels: NDArray[np.bool_],
    odds: NDArray[np.float64],
    alone: NDArray[np.float64] | None,
    patients: NDArray[np.integer] | None,
) -> ClassScores:
    auroc, variance = delong(labels, odds, patients) or (None, None)
    paired = None if alone is None else paired_delong(labels, odds, alone, patients)
    positive, negative = histogram(labels, odds)
    return ClassScores(
        n_positive=int(positive.sum()),
        n_negative=int(negative.sum()),
        auroc=auroc,
        auroc_variance=variance,
        histogram_positive=tuple(positive.tolist()),
        histogram_negative=tuple(negative.tolist()),
        covariance_with_alone=None if paired is None else float(paired[2][0, 1]),
    )
