"""The sum of clipped patient gradients as integers: what the noise is added to, and what secure aggregation will add up.

One patient's gradient g becomes z = trunc(2^20 * (g / C) * min(1, C / |g|)), C the clip norm. Why the L2 norm of z is at most
2^20 for whatever g holds, exactly and not up to rounding:

  1. g is taken as float32. Squares are summed in float32 in runs of 2^14 values, the runs in float64. In whatever order a run
     is summed, its relative error is at most 2^14 * 2^-24 = 2^-10 (Higham 2002, section 4.2), so the norm's is at most 2^-11.
     A square that underflows loses at most 2^-126, all d of them sqrt(d) * 2^-63 of the norm. Hence, if N is what was computed,
     bound = (N + sqrt(d) * 2^-63) * (1 + 2^-10) exceeds |g| by a factor of at least 1 + 2^-12.
  2. factor = 2^20 / max(C, bound), rounded down to float32. Each product g * factor is rounded by at most 2^-24 of itself (or
     to a number far below 1, which becomes 0), so the products' norm is at most 2^20 * (1 + 2^-24) / (1 + 2^-12) < 2^20.
  3. The conversion to integers cuts toward zero: no coordinate grows. All are below 2^20, where float32 holds integers exactly.
  4. A run that overflows is summed again in float64. If that is not finite, g holds a NaN or an infinity: the patient adds 0.

The price is a clip norm that is 2^-10 smaller for those who are clipped. Sums of integers have no rounding: patients in any
order, or in any batches, give the same sum, and without one of them it differs by exactly that patient's z.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from privacy.blocks import Blocks, Sums
from privacy.noise import discrete_gaussian
from privacy.randomness import Integers, SecureBits
from protocol.errors import PrivacyError

SCALE_BITS = 20
SCALE = 1 << SCALE_BITS  # the sensitivity: the largest integer L2 norm that one patient can add

_RUN = 1 << 14  # values whose squares are summed in float32
_CHUNK = 1 << 16  # values that are scaled, cut and added while they are in the second-level cache
_SPILL = (2**31 - 1) // SCALE  # patients that an int32 accumulator holds whatever their gradients are: 2047


class PatientSum:
    """The exact sum of clipped patient gradients over one step, on the integer grid of `clip_norm` / 2^20.

    `shapes` are those of the gradient tensors in order, or one number for a flat vector; `size` is how many values they hold.
    Raises PrivacyError for a clip norm that is not between 2^-40 and 2^40, and for gradients of other shapes.
    """

    def __init__(self, shapes: Sequence[Sequence[int]] | int, clip_norm: float, device: torch.device | str = "cpu") -> None:
        if not (math.isfinite(clip_norm) and 2.0**-40 <= clip_norm <= 2.0**40):
            raise PrivacyError(f"the clip norm must lie between 2^-40 and 2^40, not {clip_norm}; set privacy.clip_norm.")
        self.clip_norm, self.device = clip_norm, torch.device(device)
        self.zeroed = 0  # patients whose gradient was not finite; a fact about patients: it must never leave the hospital
        self._blocks = Blocks([(shapes,)] if isinstance(shapes, int) else [tuple(shape) for shape in shapes])
        self.size = self._blocks.size
        self._sums = [torch.zeros(length, dtype=torch.int32, device=device) for length in self._blocks.lengths]
        self._spilled: list[Integers] | None = None
        self._since_spill = 0
        # Launching a kernel on a GPU costs more than its cache saves: there a block is one chunk.
        chunk = _CHUNK if self.device.type == "cpu" else max(self._blocks.lengths, default=1)
        self._scaled = torch.empty(chunk, device=device)
        self._cut = torch.empty(chunk, dtype=torch.int32, device=device)

    @torch.no_grad()
    def add(self, gradient: Sequence[torch.Tensor]) -> None:
        """Clip one patient's gradient, cut it to the grid and add it. One call a patient, all tensors at once."""
        blocks = self._blocks.pack(gradient)
        norm = _norm(blocks)
        if not math.isfinite(norm):
            self.zeroed += 1
            return
        if self._since_spill == _SPILL:
            self._spill()
        self._since_spill += 1
        factor, chunk = _factor(norm, self.size, self.clip_norm), len(self._scaled)
        for block, total in zip(blocks, self._sums, strict=True):
            for start in range(0, len(block), chunk):
                values = block[start : start + chunk]
                scaled = torch.mul(values, factor, out=self._scaled[: len(values)])
                total[start : start + chunk] += self._cut[: len(values)].copy_(scaled)

    def integers(self) -> Integers:
        """The sum on the integer grid, without noise, shape (size,); a copy. Only for masking: it must not leave as it is."""
        vector = np.empty(self.size, dtype=np.int64)
        self._blocks.unpack(self._totals(), vector)
        return vector

    def noised(self, noise_multiplier: float, bits: SecureBits | None = None) -> torch.Tensor:
        """(sum + N_Z(0, (noise_multiplier * 2^20)^2)) * C / 2^20 as float32, shape (size,), on the device of the sum.

        A sum of no patients is noised as well: whether anybody was sampled is not to be seen. Raises PrivacyError for a
        noise multiplier that is not positive or beyond 2^20.
        """
        bits, vector = bits or SecureBits(), np.empty(self.size, dtype=np.float32)
        self._blocks.unpack((self._noised(total, noise_multiplier, bits) for total in self._totals()), vector)
        return torch.from_numpy(vector).to(self.device)

    def _noised(self, total: Sums, noise_multiplier: float, bits: SecureBits) -> npt.NDArray[np.float32]:
        block = np.empty(len(total), dtype=np.float32)
        for start in range(0, len(total), _CHUNK):
            part = slice(start, start + _CHUNK)
            noise = discrete_gaussian(len(block[part]), noise_multiplier * SCALE, bits)
            noise += total[part]
            np.multiply(noise, self.clip_norm / SCALE, out=block[part], casting="same_kind")
        return block

    def _totals(self) -> list[Sums]:
        sums: list[Sums] = [total.cpu().numpy() for total in self._sums]
        if self._spilled is None:
            return sums
        return [low + high for low, high in zip(sums, self._spilled, strict=True)]

    def _spill(self) -> None:
        """Move the int32 sums to int64 before a patient could make them wrap."""
        self._spilled = [total.astype(np.int64) for total in self._totals()]
        for total in self._sums:
            total.zero_()
        self._since_spill = 0


def _factor(norm: float, size: int, clip_norm: float) -> float:
    """What a gradient of computed norm `norm` is multiplied with: the largest float32 that cannot exceed the sensitivity."""
    bound = (norm + math.sqrt(size) * 2.0**-63) * (1.0 + 2.0**-10)
    exact = SCALE / max(clip_norm, bound)
    factor = np.float32(exact)
    return float(factor if factor <= exact else np.nextafter(factor, np.float32(0.0)))


def _norm(blocks: Sequence[torch.Tensor]) -> float:
    """The L2 norm over all blocks as point 1 of the module wants it; not finite if a value is not."""
    for dtype in (torch.float32, torch.float64):
        runs = [norms for block in blocks for norms in _run_norms(block, dtype)]
        norm = math.sqrt(torch.cat(runs).double().square().sum().item()) if runs else 0.0
        if math.isfinite(norm):
            break
    return norm


def _run_norms(block: torch.Tensor, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    whole = len(block) // _RUN * _RUN
    if whole:
        yield torch.linalg.vector_norm(block[:whole].view(-1, _RUN), dim=1, dtype=dtype)
    if whole < len(block):
        yield torch.linalg.vector_norm(block[whole:], dtype=dtype).reshape(1)
