"""Build everything a plan names, once, without any data: what would fail at every hospital fails here, with its line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from protocol.errors import NetworkError, PlanError
from protocol.plan import Plan
from protocol.plan.yaml_lines import line_of, read_yaml

if TYPE_CHECKING:
    import torch

    from privacy.coded.build import Built

_SIZE = 96  # a blank image of this edge stands in for a hospital's
_WORKING_MOST = 4 << 30
"""Bytes for one image while it is made; the largest radiographs take a twentieth of it."""


@dataclass(frozen=True)
class Rehearsal:
    """Facts about the built network, and how many values learn at a silo."""

    facts: dict[str, object]
    n_trained: int


def rehearse(plan: Plan, path: Path) -> Rehearsal:
    """Raises PlanError with the line of the part that cannot be built, or that privacy does not allow as built."""
    import torch

    from privacy.coded.build import build
    from protocol.baseline import baseline
    from protocol.network import n_parameters
    from silo_node.training.size import size_of
    from silo_node.training.transforms import Pipeline, fixed_shape

    size = size_of(plan, _SIZE, _SIZE)
    if size.working > _WORKING_MOST:
        text = (
            f"data.preprocessing: makes images of {size.image / 1e9:.1f} GB; hospitals would refuse them, and they are not "
            "tried here. Make them smaller."
        )
        raise PlanError(f"{path.name}:{_line(path, text)}: {text}")
    try:
        preprocess = Pipeline(plan.data.preprocessing, "data.preprocessing")
        augment = Pipeline(plan.data.augmentation, "data.augmentation")
        ramp = torch.linspace(0, 1, _SIZE).expand(plan.data.channels, _SIZE, _SIZE).clone()
        image = preprocess(ramp)
        augment.seed(0)
        augment.always()
        _same_shape(image, augment(image))
        if plan.privacy.mechanism != "none":
            fixed_shape(plan)
        built = build(plan, tuple(image.shape), tell=True)
        network = built.network
        try:
            _one_step(built, image, len(plan.task.classes))
        finally:
            built.close()
        baseline(plan, network)
    except NetworkError as error:
        raise PlanError(f"{path.name}:{_line(path, str(error))}: {error}") from error
    facts: dict[str, object] = {
        "network_input": list(image.shape),
        "n_parameters": n_parameters(network),
        "values_shared": built.layout.size,
        "mb_per_image": round(size.image / 1e6, 3),
        "mb_per_message": round(built.layout.size * 4 / 1e6, 3),
    }
    return Rehearsal(facts, sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad))


def _one_step(built: Built, image: torch.Tensor, n_classes: int) -> None:
    """The gradient of the plan's own module on the rehearsal's image as each class; MONAI's networks need no trying out."""
    import torch
    from torch.nn import functional

    from privacy.per_patient import patient_gradients
    from protocol.network import first_output

    if not built.coded:
        return

    def loss(output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        try:
            return (built.loss or functional.cross_entropy)(first_output(output).float(), labels)
        except NetworkError as error:
            raise NetworkError(f"training.loss: {error}") from error

    found = patient_gradients(built.network, loss, image.expand(n_classes, *image.shape), torch.arange(n_classes))
    if not all(bool(torch.isfinite(one).all()) for one in found):
        raise NetworkError(
            "the plan's own module: the gradient of an image has numbers that are not finite. Look for a division by zero, "
            "or the logarithm or root of zero."
        )


def _same_shape(image: torch.Tensor, augmented: torch.Tensor) -> None:
    if augmented.shape != image.shape:
        raise NetworkError(f"data.augmentation: changes the image from {list(image.shape)} to {list(augmented.shape)}.")


def _line(path: Path, message: str) -> int:
    """The line of the key with which the message begins, or of the network."""
    _, node = read_yaml(path.read_text(encoding="utf-8"))
    key = message.split(":", 1)[0]
    steps = key.replace("]", "").replace("[", ".").split(".")
    location: list[str | int] = [int(step) if step.isdigit() else step for step in steps]
    if key[:4] not in ("data", "netw", "fede", "trai"):
        location = ["network"]
    return line_of(node, location)
