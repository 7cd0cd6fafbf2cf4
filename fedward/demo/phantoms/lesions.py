"""The target finding, and the innocent shadows that look a little like it.

The finding is an opacity, from a patch to a consolidated lobe, and denser than most in life: a network of some ten thousand
weights has to learn it through the noise that hides each patient, and what noise leaves of two thousand patients is plain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedward.demo.phantoms.anatomy import Frame, edge
from fedward.demo.phantoms.build import Array, Index


@dataclass(frozen=True)
class Nodules:
    """One nodule an image; each field has shape (n, 1, 1). `thickness` 0 means there is none."""

    x: Array
    y: Array
    radius: Array
    thickness: Array  # cm of water at its centre
    lobes: Array  # how many bulges its rim has
    turn: Array  # where the first bulge lies, radians

    def take(self, index: Index | NDArray[np.bool_]) -> Self:
        """Return the nodules at these positions."""
        return type(self)(*(values[index] for values in vars(self).values()))


def draw(rng: np.random.Generator, finding: NDArray[np.bool_], owner: Index, patients: int, conspicuity: float) -> Nodules:
    """Draw one place, size and density a patient: follow-up images show the same nodule, a little changed."""

    def column(values: NDArray[np.floating]) -> Array:
        return values.astype(np.float32).reshape(-1, 1, 1)

    side = rng.choice([-1.0, 1.0], patients)
    lateral = rng.uniform(0.26, 0.6, patients)
    x = side * lateral
    # Apices are narrow and, on the left, the heart hides the lower inner field.
    top = -0.5 + 0.35 * np.clip(lateral - 0.4, 0, None)
    y = rng.uniform(top, np.where((side > 0) & (lateral < 0.42), 0.05, 0.32))
    radius = 0.18 * np.exp(rng.uniform(0, 0.75, patients))
    thickness = conspicuity * np.exp(0.25 * rng.standard_normal(patients))
    images = len(owner)
    return Nodules(
        column(x[owner] + 0.01 * rng.standard_normal(images)),
        column(y[owner] + 0.01 * rng.standard_normal(images)),
        column(radius[owner] * (1 + 0.05 * rng.standard_normal(images))),
        column(finding * thickness[owner] * np.exp(0.08 * rng.standard_normal(images))),
        column(rng.integers(2, 6, patients)[owner].astype(np.float32)),
        column(rng.uniform(0, 2 * np.pi, patients)[owner]),
    )


def shadow(nodules: Nodules, at: Frame) -> Array:
    """Return the nodules' tissue, cm of water: round, a little lobulated, soft at the rim."""
    x, y = at.x - nodules.x, at.y - nodules.y
    angle = np.arctan2(y, x)
    bulges = np.cos(nodules.lobes * angle + nodules.turn) + np.cos((nodules.lobes + 1) * angle - 2 * nodules.turn)
    rim = nodules.radius * (1 + np.float32(0.06) * bulges)
    squared = (x * x + y * y) / (rim * rim)
    return nodules.thickness * edge(1 - squared, 1.5)


def mimics(rng: np.random.Generator, at: Frame, count: int = 4) -> Array:
    """Return vessels seen end-on and healed granulomas, cm of water: rounder and smaller than the finding, in everyone."""
    n = len(at.x)
    total = np.zeros_like(at.x)
    # Pose hardly matters for so small a thing, so each is an outer product of two profiles.
    row, column = at.y[:, :, :1], at.x[:, :1, :]
    for _ in range(count):
        x = rng.choice([-1.0, 1.0], (n, 1, 1)) * rng.uniform(0.18, 0.62, (n, 1, 1))
        y = rng.uniform(-0.5, 0.35, (n, 1, 1))
        size = rng.uniform(0.016, 0.036, (n, 1, 1))
        strength = np.clip(rng.normal(0.6, 0.7, (n, 1, 1)), 0, 2.5)
        across = np.exp(-0.5 * ((column - x) / size) ** 2).astype(np.float32)
        down = (strength * np.exp(-0.5 * ((row - y) / size) ** 2)).astype(np.float32)
        total += down * across
    return total
