"""From what a site, or a sum over sites, says of one model to AUROCs: the one place that knows how kinds of scores differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.histograms import auroc_from_histograms
from evaluation.measured import Measured, mean_deviation_squared
from evaluation.metrics import Noise
from evaluation.noisy_histograms import N_BINS, noise_variance, noisy_auroc
from evaluation.summed import AnySum, ExactSum, NoisedSum
from protocol.errors import EvaluationError
from protocol.messages import ClassScores, PrivateScores, Scores

AnyScores = Scores | PrivateScores


def class_aurocs(scores: AnyScores | AnySum) -> tuple[Measured, ...]:
    """Each class against the rest at one site, or in one sum: one for a binary task, one per class otherwise."""
    return _kind([scores]).measure(scores)


def pooled_classes(sites: Sequence[AnyScores | AnySum]) -> tuple[Measured, ...]:
    """Each class over all sites as if they were one cohort: histograms added, then counted. A sum stands for its sites.

    Raises EvaluationError if sites scored different classes, or some sent exact scores and some noised ones.
    """
    counts = sorted({len(site.classes) for site in sites})
    if len(counts) != 1 or counts[0] == 0:
        raise EvaluationError(f"sites scored {counts or 'no'} classes; all must score the same, and at least one.")
    pool = _kind(sites).pool
    return tuple(pool(sites, index) for index in range(counts[0]))


def difference_variance(model: AnyScores, alone: AnyScores) -> float | None:
    """Variance of `model`'s headline AUROC minus that of the same site's `alone`, scored on the same rows; never negative.

    Var(a - b) = Var a + Var b - 2 Cov(a, b) of each class; a mean over classes takes the same bound as `macro`. None if a
    class that the headline rests on has no covariance, the two were not scored on the same cases, or scores are noised.
    """
    if not (isinstance(model, Scores) and isinstance(alone, Scores)):
        return None
    pairs = list(zip(model.classes, alone.classes, strict=True)) if len(model.classes) == len(alone.classes) else []
    if not pairs or any((one.n_positive, one.n_negative) != (two.n_positive, two.n_negative) for one, two in pairs):
        return None
    variances = [_paired_variance(one, two) for one, two in pairs if _exact(one).estimable]
    known = [variance for variance in variances if variance is not None]
    return mean_deviation_squared(known) if known and len(known) == len(variances) else None


# ------------------------------------------------------------------------------------------------------------------- kinds


@dataclass(frozen=True)
class _Kind:
    """How one type of scores is measured: at one site, and one class of it over several sites."""

    measure: Callable[[Any], tuple[Measured, ...]]
    pool: Callable[[Sequence[Any], int], Measured]


def _kind(sites: Sequence[AnyScores | AnySum]) -> _Kind:
    types = {type(site) for site in sites}
    if len(types) != 1:
        raise EvaluationError("some sites sent exact scores and some noised ones; the scores of one plan are of one kind.")
    return _KINDS[types.pop()]


def _exact(one: ClassScores) -> Measured:
    return Measured(one.auroc, one.auroc_variance, one.n_positive, one.n_negative)


def _pool_exact(sites: Sequence[Scores], index: int) -> Measured:
    positive = np.sum([site.classes[index].histogram_positive for site in sites], axis=0)
    negative = np.sum([site.classes[index].histogram_negative for site in sites], axis=0)
    return _counted(positive, negative)


def _pool_sums(sums: Sequence[ExactSum], index: int) -> Measured:
    positive = np.sum([one.classes[index].positive for one in sums], axis=0)
    negative = np.sum([one.classes[index].negative for one in sums], axis=0)
    return _counted(positive, negative)


def _counted(positive: NDArray[np.int64], negative: NDArray[np.int64]) -> Measured:
    value, variance, bound = auroc_from_histograms(positive, negative) or (None, None, None)
    return Measured(value, variance, int(positive.sum()), int(negative.sum()), "pooled histograms", bound)


def _paired_variance(model: ClassScores, alone: ClassScores) -> float | None:
    own, other, covariance = model.auroc_variance, alone.auroc_variance, model.covariance_with_alone
    if own is None or other is None or covariance is None:
        return None
    return max(0.0, own + other - 2.0 * covariance)


def _noised(scores: PrivateScores) -> tuple[Measured, ...]:
    return tuple(_add([scores], index, "noised histograms") for index in range(len(scores.classes)))


def _pool_noised(sites: Sequence[PrivateScores | NoisedSum], index: int) -> Measured:
    return _add(sites, index, "pooled noised histograms")


def _add(sites: Sequence[PrivateScores | NoisedSum], index: int, basis: str) -> Measured:
    """One class over `sites`; counts add, and so do the variances of their noise."""
    positive: NDArray[np.int64] = np.sum([site.classes[index].positive for site in sites], axis=0)
    negative: NDArray[np.int64] = np.sum([site.classes[index].negative for site in sites], axis=0)
    variance = sum(_noises(site) * noise_variance(site.scale) for site in sites)
    count_sd = math.sqrt(N_BINS * variance)
    n, found = (int(positive.sum()), int(negative.sum())), noisy_auroc(positive, negative, variance)
    if found is None:
        return Measured(None, None, *n, basis, noise=Noise(0.0, count_sd))
    noise = Noise(found.noise, count_sd)
    return Measured(found.value, found.sampling + found.noise, *n, basis, found.bound, noise=noise)


def _noises(site: PrivateScores | NoisedSum) -> int:
    """How many hospitals' noise is on each bin."""
    return site.n_silos if isinstance(site, NoisedSum) else 1


def _each(pool: Callable[[Any, int], Measured]) -> Callable[[Any], tuple[Measured, ...]]:
    return lambda one: tuple(pool([one], index) for index in range(len(one.classes)))


_KINDS: Mapping[type, _Kind] = {
    Scores: _Kind(lambda scores: tuple(_exact(one) for one in scores.classes), _pool_exact),
    PrivateScores: _Kind(_noised, _pool_noised),
    ExactSum: _Kind(_each(_pool_sums), _pool_sums),
    NoisedSum: _Kind(_each(_pool_noised), _pool_noised),
}
