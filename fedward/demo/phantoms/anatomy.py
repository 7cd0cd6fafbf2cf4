"""A chest as the beam sees it: centimetres of water-equivalent tissue along each ray.

Coordinates: y runs down from -1 to 1, x runs right in the same unit, so the patient's left side is where x > 0, as in a
frontal radiograph. All functions work on a batch: images first, then rows, then columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.demo.phantoms.build import Array, Build

F = np.float32  # constants stay single precision: twice as fast, and the same on every numpy


@dataclass(frozen=True)
class Frame:
    """Where each pixel looks, in the patient's own coordinates; both (n, rows, columns)."""

    x: Array
    y: Array


@dataclass(frozen=True)
class Chest:
    """Tissue along each ray, and how much of the ray is lung (0 to 1)."""

    tissue: Array
    lung: Array


def frame(build: Build, rows: int, columns: int) -> Frame:
    """Undo each image's pose: shift, zoom and tilt."""
    y = np.linspace(-1, 1, rows, dtype=F).reshape(1, -1, 1)
    x = np.linspace(-columns / rows, columns / rows, columns, dtype=F).reshape(1, 1, -1)
    x, y = (x - build.shift_x) * build.zoom, (y - build.shift_y) * build.zoom
    cosine, sine = np.cos(build.tilt), np.sin(build.tilt)
    return Frame((x * cosine - y * sine) / build.width, (x * sine + y * cosine) / build.height)


def edge(distance: Array, softness: float) -> Array:
    """Rise from 0 to 1 over `softness` round distance 0: the penumbra of a rounded border."""
    t: Array = distance * F(1 / softness)
    t += F(0.5)
    np.clip(t, 0, 1, out=t)
    t *= t * (3 - 2 * t)
    return t


def dome(distance_squared: Array) -> Array:
    """Thickness of a unit ball at this squared distance from its centre."""
    return np.sqrt(np.clip(1 - distance_squared, 0, 1))


def image(build: Build, at: Frame) -> Chest:
    """Put the chest together."""
    x, y = at.x, at.y
    side = np.abs(x)
    left = x > 0
    lung = _lungs(build, y, side, left)
    centre = _mediastinum(build, x, y)
    air = lung * (1 - centre)
    wall = _trunk(build, y, side)
    tissue = wall * (1 - F(0.8) * air) - _gas(build, x, y)
    tissue += _bones(build, x, y, side) * np.clip(wall, 0, 1)
    tissue += build.breast * _breasts(y, side)
    # Film beside the patient sees a little air scatter, never less than nothing.
    return Chest(np.maximum(tissue, F(0.05)), air)


def _trunk(build: Build, y: Array, side: Array) -> Array:
    shoulder = F(-0.93) + F(0.52) * np.clip(side - F(0.2), 0, None)
    outline = edge(y - shoulder, 0.1) * edge(F(0.93) - F(0.06) * y * y - side, 0.05)
    neck = edge(F(0.21) - side, 0.06) * edge(F(-0.6) - y, 0.3)
    depth = F(0.45) + F(0.55) * dome(side * side)
    # The shoulders are shallow, the upper abdomen is deep.
    slope = np.clip(F(0.84) + F(0.2) * y, 0.6, 1.0)
    trunk: Array = build.trunk * slope * depth * np.maximum(outline, F(0.7) * neck)
    return trunk


def _lungs(build: Build, y: Array, side: Array, left: NDArray[np.bool_]) -> Array:
    above_base = np.clip((F(0.52) - y) / (F(1.28) * build.height), 0, 1)
    outer = F(0.76) * np.sqrt(1 - above_base**3) - F(0.05) * (1 - above_base) ** 2
    crest = F(0.43) + F(0.05) * left + build.diaphragm
    base = crest + F(1.2) * np.clip(side - F(0.34), -0.24, None) ** 2
    field = edge(outer - side, 0.1) * edge(side - F(0.05), 0.07) * edge(base - y, 0.045)
    # Lungs are deepest in the middle of each side, so grey falls off towards the rim.
    return field * (F(0.78) + F(0.22) * dome(((side - F(0.38)) / F(0.42)) ** 2))


def _mediastinum(build: Build, x: Array, y: Array) -> Array:
    size = build.heart
    along = F(0.8) * (x - F(0.13)) + F(0.6) * (y - F(0.25))
    across = F(0.8) * (y - F(0.25)) - F(0.6) * (x - F(0.13))
    ventricle = (along / (F(0.36) * size)) ** 2 + (across / (F(0.25) * size)) ** 2
    atrium = ((x + F(0.03)) / (F(0.17) * size)) ** 2 + ((y - F(0.26)) / F(0.27)) ** 2
    heart = 1 - (1 - F(0.86) * edge(1 - ventricle, 0.5)) * (1 - F(0.7) * edge(1 - atrium, 0.8))
    arch = build.knuckle * edge(1 - ((x - F(0.09)) / F(0.105)) ** 2 - ((y + F(0.33)) / F(0.1)) ** 2, 0.9)
    # The great vessels: narrow behind the breastbone, wider where they leave the heart.
    stem = F(0.8) * edge(F(0.125) + F(0.03) * y - np.abs(x - F(0.015)), 0.07)
    hilum = ((np.abs(x - F(0.02)) - F(0.17)) / F(0.085)) ** 2 + ((y + F(0.03) + F(0.05) * (x > 0)) / F(0.14)) ** 2
    windpipe = edge(F(0.05) - np.abs(x + F(0.01)), 0.04) * edge(F(-0.2) - y, 0.1)
    solid = 1 - (1 - heart) * (1 - arch) * (1 - stem)
    centre: Array = np.clip(solid * (1 - F(0.3) * windpipe) + F(0.4) * np.exp(-hilum), 0, 1)
    return centre


def _bones(build: Build, x: Array, y: Array, side: Array) -> Array:
    cage = edge(F(0.84) - side, 0.05) * edge(side - F(0.07), 0.06)
    cage = cage * edge(y + F(0.72), 0.1) * edge(F(0.68) - y, 0.2)
    # Behind, ribs leave the spine almost level and fall to the side; in front they fall towards the breastbone.
    behind: Array = (y - build.rib_slope * (side * side)) / build.rib_gap + build.rib_phase
    front: Array = (y + side * (F(0.75) - F(0.32) * side)) / build.rib_gap * F(0.9)
    front = front + build.rib_phase + F(0.3)
    ribs = F(1.2) * _tubes(behind, 0.24) + F(0.6) * _tubes(front, 0.27) * edge(side - F(0.26), 0.2)
    collar = y + F(0.53) + F(0.22) * side - F(0.09) * np.sin(F(5) * side)
    collar = dome((collar / F(0.04)) ** 2) * edge(side - F(0.07), 0.05)
    spine = dome((x / F(0.105)) ** 2) * (F(2.4) + F(0.9) * np.cos(F(2 * np.pi / 0.15) * y))
    bones: Array = ribs * cage + F(2.4) * collar + spine
    return bones


def _tubes(phase: Array, half_width: float) -> Array:
    """Return the wall of hollow tubes, one every unit of phase: bright rims, a paler middle."""
    across = (phase - np.floor(phase) - F(0.5)) / F(half_width)
    squared = across * across
    return dome(squared) * (F(0.7) + F(0.5) * squared)


def _breasts(y: Array, side: Array) -> Array:
    squared = ((side - F(0.45)) / F(0.36)) ** 2 + ((y - F(0.3)) / F(0.34)) ** 2
    return dome(squared) * edge(1 - squared, 0.4)


def _gas(build: Build, x: Array, y: Array) -> Array:
    squared = ((x - F(0.36)) / F(0.16)) ** 2 + ((y - F(0.68)) / F(0.1)) ** 2
    return build.gas * F(6.0) * edge(1 - squared, 0.5)
