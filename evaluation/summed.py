"""Scores of which only the sum over hospitals is known: the vector of counts each hospital masks, and what the sum becomes.

Without privacy a hospital's vector holds, for every scored class, the histogram of the positives' scores and that of the
negatives' (evaluation.histograms), then how many images there are and how many were told right. Under privacy it holds the
noised histograms (evaluation.noisy_histograms) and nothing else. A hospital without patients in the part sends zeros, or noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from evaluation import histograms, noisy_histograms
from evaluation.scoring import scored_classes
from protocol.errors import EvaluationError
from protocol.messages import NoisyHistograms, Scores
from protocol.plan import Plan
from protocol.plan.privacy import PatientPrivacy

_TOTALS = 2  # images, and right answers among them

Counts = NDArray[np.int64]


class SummedClass(Struct, frozen=True, forbid_unknown_fields=True):
    """Counts of one class's scores over all hospitals, in the bins of the hospitals' own histograms."""

    positive: tuple[int, ...]
    negative: tuple[int, ...]


class ExactSum(Struct, frozen=True, forbid_unknown_fields=True, tag="exact-sum"):
    """One model on one part over the hospitals in the sum: `n` images, `n_right` of them told right."""

    n: int
    n_right: int
    classes: tuple[SummedClass, ...]


class NoisedSum(Struct, frozen=True, forbid_unknown_fields=True, tag="noised-sum"):
    """The same with the noise of `n_silos` hospitals on every bin; `scale` is that of one hospital's, `epsilon` its cost."""

    n_silos: int
    epsilon: float
    scale: float
    classes: tuple[SummedClass, ...]


AnySum = ExactSum | NoisedSum


def vector_size(plan: Plan) -> int:
    """Number of counts that a hospital masks."""
    if isinstance(plan.privacy, PatientPrivacy):
        return 2 * noisy_histograms.N_BINS * _n_scored(plan)
    return 2 * histograms.N_BINS * _n_scored(plan) + _TOTALS


def exact_vector(plan: Plan, scores: Scores | None) -> Counts:
    """A hospital's counts, shape (vector_size,); all zero without scores, for want of patients."""
    if scores is None:
        return np.zeros(vector_size(plan), dtype=np.int64)
    rows = [histogram for one in scores.classes for histogram in (one.histogram_positive, one.histogram_negative)]
    totals = np.array([scores.n, round(scores.accuracy * scores.n)], dtype=np.int64)
    return np.concatenate([np.ravel(np.array(rows, dtype=np.int64)), totals])


def noised_vector(classes: Sequence[NoisyHistograms]) -> Counts:
    """A hospital's noised counts, shape (vector_size,)."""
    return np.ravel(np.array([histogram for one in classes for histogram in (one.positive, one.negative)], dtype=np.int64))


def sum_of(plan: Plan, opened: NDArray[np.signedinteger[Any]], n_silos: int) -> AnySum:
    """What the opened sum (vector_size,) over `n_silos` hospitals says. Raises EvaluationError if it holds no counts."""
    if opened.shape != (vector_size(plan),):
        raise EvaluationError(f"a sum of {opened.size} counts, where the plan has {vector_size(plan)}.")
    private = isinstance(plan.privacy, PatientPrivacy)
    rows = (opened if private else opened[:-_TOTALS]).reshape(_n_scored(plan), 2, -1)
    classes = tuple(SummedClass(tuple(positive.tolist()), tuple(negative.tolist())) for positive, negative in rows)
    if isinstance(plan.privacy, PatientPrivacy):
        epsilon = plan.privacy.metrics_epsilon
        return NoisedSum(n_silos, epsilon, len(classes) / epsilon, classes)
    n, n_right = (int(count) for count in opened[-_TOTALS:])
    if (opened < 0).any() or n_right > n or (rows.sum(axis=(1, 2)) != n).any():
        raise EvaluationError(
            "the sum holds no counts of images: a hospital sent something else, and a sum does not say which. Leave hospitals "
            "out one by one, or set evaluation.scores to per_site."
        )
    return ExactSum(n, n_right, classes)


def _n_scored(plan: Plan) -> int:
    return len(scored_classes(len(plan.task.classes)))
