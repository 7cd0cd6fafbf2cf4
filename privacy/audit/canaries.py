"""White-box canaries: patients whose gradients an adversary chose, and the scores by which it tells who was in the data.

Canary i's images all have the gradient 1000 C e_i, far above the clip norm C, so a step that keeps its promise adds C e_i for
it, and one that clips each of its n images by itself n C e_i. The released vector of a step, in units of C, has at coordinate i

    x = N(0, sigma^2), plus 1 with probability q if the canary is in.

Its score is the log of the likelihood ratio over all steps, sum log(1 - q + q exp((2 x - 1) / (2 sigma^2))): by Neyman and
Pearson nobody who sees the stream can tell better, if the mechanism is what it claims to be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from privacy.audit.stream import Seen
from privacy.audit.subject import Subject
from privacy.randomness import SecureBits

_FAR_ABOVE = 1000.0


@dataclass(frozen=True)
class CanaryScores:
    """Of each canary, shape (m,): whether it was in the data, and its score (unitless, higher means rather in)."""

    included: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]

    def __add__(self, other: CanaryScores) -> CanaryScores:
        return CanaryScores(np.append(self.included, other.included), np.append(self.scores, other.scores))


class Inner(nn.Module):
    """images (n, d) -> their inner products with d weights: an image is the gradient of its own output."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(size))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The inner products, shape (n,)."""
        return images @ self.weights


def mean_output(output: torch.Tensor, _labels: torch.Tensor) -> torch.Tensor:
    """A loss whose gradient is the mean of the images."""
    return output.mean()


def run_canaries(subject: Subject, canaries: int, done: Callable[[], None] = lambda: None) -> CanaryScores:
    """One run of all steps on about half of the canaries; `done` is called after each step."""
    included = SecureBits().words(canaries) < np.uint64(2**63)
    scores = np.zeros(canaries)
    for seen in _stream(subject, np.flatnonzero(included), canaries):
        scores += _log_likelihood_ratio(seen, subject.stream.step.sampling_rate, subject.stream.step.noise_multiplier)
        done()
    return CanaryScores(included, scores)


def _stream(subject: Subject, members: npt.NDArray[np.int64], size: int) -> Iterator[Seen]:
    """What every step shows, shape (size,), in units of the clip norm."""
    clip_norm, network, label = subject.stream.step.clip_norm, Inner(size), torch.zeros(subject.images)

    def batch(patient: int, _bits: SecureBits) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.zeros(subject.images, size)
        images[:, members[patient]] = _FAR_ABOVE * clip_norm
        return images, label

    for _ in range(subject.steps):
        yield subject.stream.released(network, mean_output, len(members), batch)


def _log_likelihood_ratio(x: Seen, rate: float, sigma: float) -> Seen:
    exponent = (2.0 * x - 1.0) / (2.0 * sigma**2)
    if rate == 1.0:
        return exponent
    ratio: Seen = np.logaddexp(math.log1p(-rate), math.log(rate) + exponent)
    return ratio
