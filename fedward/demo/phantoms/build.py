"""Who is in front of the detector: body build and pose, one value an image, ready to broadcast over a batch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Build:
    """Shape of a batch of chests; every field has shape (n, 1, 1). Lengths are in half image heights."""

    width: Array  # lateral scale of the rib cage
    height: Array  # vertical scale of the lungs: breath and habitus
    trunk: Array  # depth of the trunk, cm of water
    heart: Array  # scale of the heart shadow
    diaphragm: Array  # level of the domes
    breast: Array  # thickness of breast tissue, cm of water; 0 for men
    rib_gap: Array  # distance between two ribs
    rib_phase: Array  # where the first rib lies
    rib_slope: Array  # how steeply ribs fall to the side
    knuckle: Array  # prominence of the aortic arch, grows with age
    gas: Array  # size of the gastric bubble
    shift_x: Array
    shift_y: Array
    zoom: Array
    tilt: Array  # radians

    def __len__(self) -> int:
        """How many chests."""
        return len(self.width)

    def take(self, index: Index) -> Self:
        """Return the builds at these positions."""
        return type(self)(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def draw(rng: np.random.Generator, female: NDArray[np.bool_], age: NDArray[np.int64], owner: Index) -> Build:
    """Draw one build a patient, then one pose and one breath an image; `owner` says whose image each one is."""
    patients, images = len(female), len(owner)

    def person(mean: float, spread: float) -> Array:
        return (mean + spread * rng.standard_normal(patients))[owner].astype(np.float32)

    def visit(spread: float) -> Array:
        return (spread * rng.standard_normal(images)).astype(np.float32)

    def column(values: NDArray[np.floating]) -> Array:
        return values.astype(np.float32).reshape(-1, 1, 1)

    woman = female[owner].astype(np.float32)
    years = age[owner].astype(np.float32)
    return Build(
        width=column(person(1.0, 0.04) - 0.03 * woman),
        height=column(person(1.0, 0.04) - 0.02 * woman + visit(0.02)),
        trunk=column(person(21.0, 1.1) - 0.6 * woman),
        heart=column(person(0.93, 0.07) + 0.0015 * (years - 55)),
        diaphragm=column(person(0.0, 0.03) + visit(0.02)),
        breast=column(woman * np.clip(person(1.1, 0.35), 0.4, 2.0)),
        rib_gap=column(person(0.172, 0.008)),
        rib_phase=column(person(0.0, 0.3)),
        rib_slope=column(person(0.34, 0.04)),
        knuckle=column(np.clip(person(0.55, 0.15) + 0.008 * (years - 50), 0.15, 1.2)),
        gas=column(np.clip(person(0.5, 0.35) + visit(0.25), 0.0, 1.0)),
        shift_x=column(visit(0.025)),
        shift_y=column(visit(0.025)),
        zoom=column(1.0 + visit(0.025)),
        tilt=column(visit(0.025)),
    )
