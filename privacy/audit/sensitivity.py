"""How far one patient can move the integer sum, tried with patients whose images were made to break the clipping.

Exact: nothing is left to chance, and one patient that moves the sum by more than 2^20 in L2 refutes the guarantee.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from privacy.audit.canaries import Inner, mean_output
from privacy.audit.finding import Finding
from privacy.audit.stream import Stream, Sums
from privacy.clipping import SCALE
from privacy.randomness import Integers, SecureBits

SIZE = 20_000


def sensitivity_findings(stream: Stream) -> list[Finding]:
    """The largest change by one hostile patient, in units of 2^20, and whether the change is that patient's part."""
    sums, clip_norm = stream.sums(), stream.step.clip_norm
    plain = torch.Generator().manual_seed(0)
    others = [torch.randn(3, SIZE, generator=plain) * scale * clip_norm for scale in (1e-3, 1.0, 30.0)]
    base, nobody = _sum(sums, others), _sum(sums, [])
    worst, name, exact, count = 0, "", True, 0
    for label, images in _hostile(clip_norm):
        change = _sum(sums, [*others, images]) - base
        square = sum(value * value for value in change[change != 0].tolist())
        exact = exact and bool((change == _sum(sums, [images]) - nobody).all())
        count += 1
        if square > worst:
            worst, name = square, label
    moved = math.sqrt(worst) / SCALE
    return [
        Finding(
            "sensitivity",
            f"at most 2^20 ({count} tried)",
            f"{moved:.6f} x 2^20 ({name})",
            worst <= SCALE * SCALE,
            f"one patient ({name}) moves the sum {moved:.4g} times as far as the noise was made for: "
            "something is not clipped, or each image is clipped by itself",
        ),
        Finding(
            "sensitivity: additivity",
            "exactly one patient's part",
            "exactly" if exact else "not so",
            exact,
            "one patient changes what others contribute (batch statistics, for example), or the sum is not exact (a float, a "
            "width that wraps around): removing it moves more than its part",
        ),
    ]


def _hostile(clip_norm: float) -> Iterator[tuple[str, torch.Tensor]]:
    """What is wrong with a patient, and its images, shape (n, SIZE); an image is its own gradient."""
    dense = torch.randn(1, SIZE, generator=torch.Generator().manual_seed(1))
    single = torch.zeros(1, SIZE)
    single[0, SIZE // 2] = 1.0
    for value in (math.nan, math.inf, -math.inf, 1e30, -1e30, 3.4e38, 1e-30, 1e-44, 0.0):
        yield f"one value {value:g}", single * value if value else torch.zeros(1, SIZE)
        yield f"all values {value:g}", torch.full((1, SIZE), value)
    yield "one NaN among others", torch.where(single > 0, torch.nan, dense)
    yield "1e30 and small values", dense * 1e-3 + single * 1e30
    for factor in (0.999, 1.0, 1.001, 1e6):  # norms just below, at and above the clip norm
        yield f"norm {factor:g} clip_norm", dense * (factor * clip_norm / float(dense.norm()))
    for images in (1, 2, 4, 1000):
        yield f"{images} images of norm 1000 clip_norm", (single * 1000.0 * clip_norm).expand(images, SIZE)


def _sum(sums: Sums, patients: list[torch.Tensor]) -> Integers:
    """The integer sum over patients, given by their images."""

    def batch(patient: int, _bits: SecureBits) -> tuple[torch.Tensor, torch.Tensor]:
        return patients[patient], torch.zeros(len(patients[patient]))

    return sums(Inner(SIZE), mean_output, len(patients), batch)
