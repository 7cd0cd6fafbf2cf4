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

    from privacy.network_scan import refuse_memory, refuse_unlearned
    from protocol.baseline import baseline
    from protocol.network import build_network, check_network, n_parameters
    from protocol.parts import personal_names, shared_layout
    from silo_node.training.size import size_of
    from silo_node.training.transforms import Pipeline, fixed_shape

    n_classes, size = len(plan.task.classes), size_of(plan, _SIZE, _SIZE)
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
        network = build_network(plan)
        check_network(network, tuple(image.shape), n_classes)
        personal = personal_names(network, plan.federation.personal, n_classes)
        layout = shared_layout(network, personal)
        baseline(plan, network)
        if plan.privacy.mechanism != "none":
            fixed_shape(plan)
            refuse_memory(network, tuple(image.shape))
            refuse_unlearned(network, layout)
    except NetworkError as error:
        raise PlanError(f"{path.name}:{_line(path, str(error))}: {error}") from error
    facts: dict[str, object] = {
        "network_input": list(image.shape),
        "n_parameters": n_parameters(network),
        "values_shared": layout.size,
        "mb_per_image": round(size.image / 1e6, 3),
        "mb_per_message": round(layout.size * 4 / 1e6, 3),
    }
    return Rehearsal(facts, sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad))


def _same_shape(image: torch.Tensor, augmented: torch.Tensor) -> None:
    if augmented.shape != image.shape:
        raise NetworkError(f"data.augmentation: changes the image from {list(image.shape)} to {list(augmented.shape)}.")


def _line(path: Path, message: str) -> int:
    """The line of the key with which the message begins, or of the network."""
    _, node = read_yaml(path.read_text(encoding="utf-8"))
    key = message.split(":", 1)[0]
    steps = key.replace("]", "").replace("[", ".").split(".")
    location: list[str | int] = [int(step) if step.isdigit() else step for step in steps]
    if key[:4] not in ("data", "netw", "fede"):
        location = ["network"]
    return line_of(node, location)
