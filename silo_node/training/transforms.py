"""The plan's transforms, MONAI's and fedward's own, built from their names; colour conversion to the plan's channels."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai import transforms
from monai.data.meta_obj import set_track_meta
from monai.transforms.transform import Randomizable, Transform

from protocol.errors import NetworkError
from protocol.plan import Plan
from protocol.plan.part import Named
from protocol.seeds import derive_seed
from silo_node.training.colour_texture import ColourTexture

Image = npt.NDArray[np.float32]
_OWN: dict[str, type[Transform]] = {"ColourTexture": ColourTexture}
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def to_channels(image: Image, channels: int) -> Image:
    """(1|3, H, W) to (channels, H, W): colour becomes luma, grey is repeated."""
    if image.shape[0] == channels:
        return image
    if channels == 1:
        return np.tensordot(_LUMA, image, axes=1)[None].astype(np.float32)
    return np.repeat(image, 3, axis=0)


class Pipeline:
    """Transforms in order; the random ones draw from a stream that `seed` restarts."""

    def __init__(self, parts: Sequence[Named], key: str) -> None:
        self._transforms: list[object] = [_build(part, f"{key}[{index}]") for index, part in enumerate(parts)]
        self._key = key

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self._transforms

    def always(self) -> None:
        """From now on every random transform acts on every image: for trying a plan out."""
        for transform in self._transforms:
            if hasattr(transform, "prob"):
                transform.prob = 1.0

    def seed(self, seed: int) -> None:
        """Restart every random transform from its own stream of `seed`."""
        for index, transform in enumerate(self._transforms):
            if isinstance(transform, Randomizable):
                transform.set_random_state(seed=derive_seed(seed, index) % 2**32)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """One image (C, H, W) through every transform. Raises NetworkError naming the transform that failed."""
        set_track_meta(False)  # plain tensors: we need no history, and it costs more than the transforms
        for index, transform in enumerate(self._transforms):
            try:
                image = transform(image)  # type: ignore[operator]
            except Exception as error:  # MONAI raises whatever its parts raise
                name = type(transform).__name__
                raise NetworkError(f"{self._key}[{index}]: {name} failed on {list(image.shape)}: {error}") from error
        return torch.as_tensor(image, dtype=torch.float32)


_PROBES = ((96, 96), (72, 120))


def fixed_shape(plan: Plan) -> tuple[int, ...]:
    """(C, H, W) that data.preprocessing gives every image, whatever its own size. Raises NetworkError if there is no such.

    Under privacy the network's input must follow from the plan, not from what a hospital's images happen to be.
    """
    pipeline = Pipeline(plan.data.preprocessing, "data.preprocessing")
    ramps = (torch.linspace(0, 1, width).expand(plan.data.channels, height, width).clone() for height, width in _PROBES)
    shapes = {tuple(pipeline(ramp).shape) for ramp in ramps}
    if len(shapes) > 1:
        raise NetworkError(
            "data.preprocessing: under privacy every image must come out in one size, whatever its own; end with Resize or "
            "ResizeWithPadOrCrop."
        )
    return shapes.pop()


def _build(part: Named, key: str) -> Callable[[torch.Tensor], torch.Tensor]:
    kind = _OWN.get(part.name) or getattr(transforms, part.name)
    accepted = set(inspect.signature(kind).parameters)
    if unknown := sorted(set(part.args) - accepted):
        raise NetworkError(f"{key}: {part.name} takes no {', '.join(unknown)}; it takes {', '.join(sorted(accepted))}.")
    try:
        built: Any = kind(**part.args)
    except Exception as error:
        raise NetworkError(f"{key}: {part.name} refused its arguments: {error}") from error
    return built  # type: ignore[no-any-return]
