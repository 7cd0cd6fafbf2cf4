"""Things in the picture that are not the patient: lead letters, leads and lines, burned-in text."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fedward.demo.phantoms.anatomy import F, Frame, dome
from fedward.demo.phantoms.build import Array

LEAD = 30.0  # cm of water: as good as opaque


@lru_cache(maxsize=64)
def lettering(text: str, rows: int, columns: int, right: int, top: int) -> Array:
    """Return text as a mask that ends `right` pixels before the right border."""
    # The bitmap font, not the outline one: its pixels do not depend on how Pillow was built.
    font = ImageFont.load_default_imagefont()
    canvas = Image.new("L", (columns, rows))
    width = int(font.getbbox(text)[2])
    ImageDraw.Draw(canvas).text((columns - right - width, top), text, fill=255, font=font)
    return np.asarray(canvas, dtype=np.float32) / np.float32(255)


def lines(rng: np.random.Generator, at: Frame) -> Array:
    """Return electrodes with their wires and a central line, cm of water, as on an intensive care film."""
    n = len(at.x)
    total = np.zeros_like(at.x)
    for side in (-1.0, 1.0):
        x = (side * rng.uniform(0.3, 0.62, (n, 1, 1))).astype(np.float32)
        y = rng.uniform(-0.4, 0.45, (n, 1, 1)).astype(np.float32)
        sag = (side * rng.uniform(-0.1, 0.5, (n, 1, 1))).astype(np.float32)
        pad = ((at.x - x) ** 2 + (at.y - y) ** 2) / F(0.036**2)
        wire = (at.x - x - sag * (y - at.y) ** 2) / F(0.016)
        total += F(7) * (pad < 1) + F(3) * dome(wire * wire) * (at.y < y)
    line = (at.x + F(0.07) - F(0.25) * np.clip(-at.y - F(0.35), 0, None)) / F(0.018)
    placed = (rng.random((n, 1, 1)) < 0.6).astype(np.float32)
    return total + placed * F(3) * dome(line * line) * (at.y < F(0.05))
