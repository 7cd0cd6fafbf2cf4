"""How a hospital's machine turns tissue into grey: dose, scatter, blur, noise, tone curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from fedward.demo.phantoms.build import Array


@dataclass(frozen=True)
class Machine:
    """One X-ray machine, from tube to processing."""

    rows: int
    columns: int
    attenuation: float  # per cm of water: low for a hard (high kV) beam, so less contrast
    dose: float  # quanta a pixel in air, thousands
    scatter: float  # scattered over primary light, where the body is thick
    blur: float  # sigma of the detector and the focal spot, pixels
    sharpen: float  # strength of the maker's edge enhancement
    gamma: float  # tone curve
    spread: float  # how much exposure varies from image to image


@dataclass(frozen=True)
class Beam:
    """How each exposure departs from the machine's usual: factors, one an image."""

    dose: NDArray[np.float32]
    scatter: NDArray[np.float32]


def expose(tissue: Array, machine: Machine, beam: Beam, rng: np.random.Generator) -> Array:
    """Return the displayed grey, 0 (air) to 1 (dense)."""
    n = len(tissue)
    primary: Array = np.exp(np.float32(-machine.attenuation) * tissue)
    window = machine.rows // 4
    haze = uniform_filter(uniform_filter(primary, (0, window, window)), (0, window, window))
    haze *= (machine.scatter * beam.scatter).reshape(-1, 1, 1)
    light: Array = gaussian_filter(primary + haze, (0, machine.blur, machine.blur), truncate=3.0)
    quanta = (1000 * machine.dose * beam.dose).reshape(-1, 1, 1)
    light += np.sqrt(light / quanta) * rng.standard_normal(light.shape, dtype=np.float32)
    density: Array = -np.log(np.maximum(light, 2 / quanta))
    density = _sharpened(density, machine.sharpen)
    return _toned(density, machine, rng.standard_normal((2, n, 1, 1), dtype=np.float32))


def _sharpened(density: Array, strength: float) -> Array:
    if strength == 0:
        return density
    sharper: Array = density + np.float32(strength) * (density - uniform_filter(density, (0, 7, 7)))
    return sharper


def _toned(density: Array, machine: Machine, luck: Array) -> Array:
    """Let the machine find black and white itself, as its automatic exposure does: well, but not perfectly."""
    middle = density[:, machine.rows // 6 : -machine.rows // 10, machine.columns // 8 : -machine.columns // 8]
    # White lies just above lung and heart, so the belly is burnt out: the grey scale belongs to the lungs.
    black, white = np.percentile(middle[:, ::4, ::4], (1.5, 92), axis=(1, 2), keepdims=True).astype(np.float32)
    span = white - black
    black = black - span * np.float32(0.1) + span * np.float32(machine.spread * 0.5) * luck[0]
    span = span * np.float32(1.2) * np.exp(np.float32(machine.spread) * luck[1])
    toned: Array = np.clip((density - black) / span, 0, 1) ** np.float32(machine.gamma)
    return toned
