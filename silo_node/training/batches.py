"""Which images a step sees: shuffled or class-balanced, by epochs or by steps, reproducible from a seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from protocol.plan.training import Training

Indices = npt.NDArray[np.int64]


def n_steps(training: Training, n_train: int) -> int:
    """Optimiser steps of one round."""
    if training.local_steps is not None:
        return training.local_steps
    return (training.local_epochs or 1) * -(-n_train // training.batch_size)


def batches(training: Training, positions: Indices, labels: Indices, steps: int, seed: int) -> Iterator[Indices]:
    """`steps` batches of positions.

    shuffle: each image once a pass, the last batch of a pass may be smaller. balanced: classes that the silo has are drawn
    equally often, images within a class with replacement.
    """
    rng = np.random.default_rng(seed)
    size = min(training.batch_size, len(positions))
    if training.sampling == "balanced":
        members = [positions[labels[positions] == label] for label in np.unique(labels[positions])]
        for _ in range(steps):
            drawn = rng.integers(len(members), size=size)
            yield np.array([rng.choice(members[label]) for label in drawn], dtype=np.int64)
        return
    made = 0
    while made < steps:
        order = rng.permutation(positions)
        for start in range(0, len(order), size):
            if made == steps:
                return
            yield order[start : start + size]
            made += 1
