"""How large a plan's preprocessing makes images, told from its arguments: before anything of that size is allocated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from protocol.plan import Plan
from protocol.plan.part import Named

_FLOAT = 4
_COPIES = 4
"""Of one image while transforms work on it: before, after, and what they keep in between."""


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of one preprocessed image (`image`), and of one while it is made (`working`)."""

    image: int
    working: int


def size_of(plan: Plan, height: int = 0, width: int = 0) -> Size:
    """For images that come as `height` x `width`; 0 x 0 leaves only what the plan itself makes large.

    Never less than what comes out; more where a transform crops or keeps a side, since that depends on the image.
    """
    side, largest = (height, width), height * width
    for part in plan.data.preprocessing:
        side = _after(part, side)
        largest = max(largest, side[0] * side[1])
    values = plan.data.channels * _FLOAT
    return Size(values * side[0] * side[1], values * largest * _COPIES)


def rounded_up(n: int) -> int:
    """The next power of two, at least 64: whoever tries plans of many sizes learns no more of how many images there are."""
    return int(max(64, 1 << max(0, n - 1).bit_length()))


def _after(part: Named, side: tuple[int, int]) -> tuple[int, int]:
    height, width = side
    wanted = _pair(part.args.get("spatial_size"))
    if part.name == "SpatialPad":
        return max(height, wanted[0]), max(width, wanted[1])
    if part.name in ("Resize", "ResizeWithPadOrCrop"):
        return wanted[0] or height, wanted[1] or width
    if part.name == "BorderPad":
        border = 2 * max(_numbers(part.args.get("spatial_border")), default=0)
        return height + border, width + border
    if part.name == "CropForeground":
        more = 2 * max(_numbers(part.args.get("margin")), default=0) + max(_numbers(part.args.get("k_divisible")), default=0)
        return height + more, width + more
    return side


def _pair(value: Any) -> tuple[int, int]:
    """Height and width; 0 for one that stays as it is."""
    numbers = list(_numbers(value)) or [0]
    first, last = numbers[0], numbers[1] if len(numbers) > 1 else numbers[0]
    return max(0, first), max(0, last)


def _numbers(value: Any) -> Iterable[int]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [int(one) for one in value if isinstance(one, int | float)]
    return [int(value)] if isinstance(value, int | float) else []
