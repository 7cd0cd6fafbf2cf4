"""ColourTexture: what an image's colours and textures are, in numbers that nobody had to learn.

Under differential privacy the noise falls on what is learned, so features that are fixed beforehand cost nothing: Tramer &
Boneh, "Differentially private learning needs better features (or much more data)", ICLR 2021. Here they are soft colour
histograms and first-order scattering coefficients (Bruna & Mallat, "Invariant scattering convolution networks", IEEE TPAMI
2013), averaged over orientations and over concentric zones, because a lesion has no up and no down. An image's features follow
from the image alone: no statistic of any other patient enters.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from monai.transforms.transform import Transform
from torch.nn import functional

_DARK = 0.02  # added before the logarithm: about five of 255 display levels
_RANGES = (
    (-1.6, 0.0),
    (-0.1, 0.8),
    (-0.4, 0.4),
)  # of log brightness, log red / green and log green / blue: beyond, the end bin
_QUIET = 3e-3  # added to a wavelet's amplitude before the logarithm: about the step of an 8-bit image
_USUAL = math.log(0.02)  # log amplitudes are given relative to it: that of faint structure, so that they lie about 0
_SPREAD = (
    3.0  # features vary by some 0.25 among photographs of skin; times this, by about 1, which suits a network's first weights
)
_ZONES = ((0.0, 0.35), (0.6, 0.2), (1.05, 0.2))  # centre and width in half image heights: middle, around, rim
_MARGIN = 16  # reflected pixels around the image, so that a wavelet at the rim does not see the opposite one


class ColourTexture(Transform):
    """An image (3, H, W) of red, green and blue from 0 to 1 becomes (features, 1, 1) numbers of size about 1.

    For each of three colour values (log brightness, log red/green, log green/blue) and three zones: `bins` shares of a soft
    histogram, as their roots minus that of an even share; and `scales` wavelet amplitudes, as logarithms. They are
    9 * (bins + scales). Of `orientations` turned copies of each wavelet the mean amplitude counts; with an even number of them,
    a quarter turn of the image changes nothing.
    """

    def __init__(self, bins: int = 8, scales: int = 4, orientations: int = 4) -> None:
        if not (2 <= bins <= 64 and 1 <= scales <= 4 and 2 <= orientations <= 16):
            raise ValueError("bins is 2 to 64, scales 1 to 4, orientations 2 to 16")
        self._bins, self._scales, self._orientations = bins, scales, orientations

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Raises ValueError for an image that is not of three channels, or too small for the margin."""
        if image.ndim != 3 or image.shape[0] != 3 or min(image.shape[1:]) <= _MARGIN:
            raise ValueError(f"ColourTexture takes three channels of more than {_MARGIN} pixels a side; set data.channels to 3")
        colours = log_colours(image)
        height, width = colours.shape[1:]
        weights = zones(height, width)
        shares = torch.einsum("cbhw,zhw->czb", memberships(colours, self._bins), weights)
        roots = shares.clamp(min=0.0).sqrt() - self._bins**-0.5
        bank = wavelets(height + 2 * _MARGIN, width + 2 * _MARGIN, self._scales, self._orientations)
        energies = torch.einsum("cshw,zhw->czs", amplitudes(colours, bank), weights)
        logs = ((energies + _QUIET).log() - _USUAL) / 2.0
        return _SPREAD * torch.cat([roots.flatten(), logs.flatten()])[:, None, None]


def log_colours(image: torch.Tensor) -> torch.Tensor:
    """(3, H, W) red, green, blue to log brightness, log red/green, log green/blue: a brighter lamp moves only the first."""
    red, green, blue = (image.float().clamp(min=0.0) + _DARK).log()
    return torch.stack([(red + green + blue) / 3.0, red - green, green - blue])


def memberships(colours: torch.Tensor, bins: int) -> torch.Tensor:
    """(3, bins, H, W): how much each pixel belongs to each bin, linear between two middles; over the bins it sums to 1."""
    low, high = torch.tensor(_RANGES).T[..., None, None]
    place = ((colours - low) / (high - low)).clamp(0.0, 1.0) * (bins - 1)
    shares: torch.Tensor = 1.0 - (place[:, None] - torch.arange(bins)[:, None, None]).abs()
    return shares.clamp(min=0.0)


@lru_cache(maxsize=8)
def zones(height: int, width: int) -> torch.Tensor:
    """(3, H, W): soft concentric zones, each with weights that sum to 1."""
    down = (torch.arange(height) - (height - 1) / 2)[:, None] / (height / 2)
    across = (torch.arange(width) - (width - 1) / 2)[None] / (width / 2)
    radius = torch.hypot(down, across)
    weights = torch.stack([torch.exp(-(((radius - centre) / spread) ** 2) / 2) for centre, spread in _ZONES])
    return weights / weights.sum(dim=(1, 2), keepdim=True)


@lru_cache(maxsize=8)
def wavelets(height: int, width: int, scales: int, orientations: int) -> torch.Tensor:
    """(scales, orientations, H, W): Morlet wavelets by their Fourier transform, real; at frequency 0 they are 0.

    Scale s has its middle at 0.75 pi / 2^s and a Gaussian envelope of 0.8 * 2^s pixels (the usual choice for images).
    """
    down = torch.fft.fftfreq(height)[:, None] * 2 * math.pi
    across = torch.fft.fftfreq(width)[None] * 2 * math.pi
    bank = []
    for scale in range(scales):
        middle, spread = 0.75 * math.pi / 2**scale, 0.8 * 2**scale
        for turn in range(orientations):
            angle = math.pi * turn / orientations
            gabor, envelope = torch.zeros(height, width), torch.zeros(height, width)
            for shift in (torch.tensor([i, j]) * 2 * math.pi for i in (-1, 0, 1) for j in (-1, 0, 1)):  # aliases of the grid
                y, x = down + shift[0], across + shift[1]
                along, aside = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
                gabor += torch.exp(-(spread**2) * ((along - middle) ** 2 + aside**2) / 2)
                envelope += torch.exp(-(spread**2) * (along**2 + aside**2) / 2)
            bank.append(gabor - gabor[0, 0] / envelope[0, 0] * envelope)
    return torch.stack(bank).view(scales, orientations, height, width)


def amplitudes(images: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
    """(C, H, W) and `bank` to (C, scales, H, W): the modulus of each wavelet's answer, mean over orientations."""
    height, width = images.shape[1:]
    spectrum = torch.fft.fft2(functional.pad(images, (_MARGIN,) * 4, mode="reflect"))
    answers: torch.Tensor = torch.fft.ifft2(spectrum[:, None, None] * bank).abs().mean(dim=2)
    return answers[..., _MARGIN : _MARGIN + height, _MARGIN : _MARGIN + width]
