"""The model that a plan's audit compares the final one with: a whole file of the plan's own network, found by its digest.

Two models are paired image by image, so both must take the same images: the network, its shape and its normalisation are the
plan's. A model of another network has another preprocessing too, and is compared as `fedward audit compare` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from safetensors import safe_open

from protocol.errors import MessageError, WeightsError
from protocol.plan import Plan
from protocol.vectors import Layout, Tensors, vector_digest
from protocol.weights import find_weights, weights_file

if TYPE_CHECKING:
    from torch import nn

_KEY = "evaluation.audit.compare_with"


def compared_with(plan: Plan) -> str | None:
    """The digest of the file that the plan's audit names, if it names one."""
    return None if plan.evaluation.audit is None else plan.evaluation.audit.compare_with


def released_digest(digest: str) -> str | None:
    """The digest of the vector in the file `digest`, as the report of its job has it; None if no job of fedward wrote it.

    Raises WeightsError if the file is not on this machine or is damaged.
    """
    path, tensors = weights_file(digest), find_weights(digest)
    with safe_open(path, framework="numpy") as opened:
        order = (opened.metadata() or {}).get("order")
    try:
        names = msgspec.json.decode(order or "[]", type=list[str])
        entries = tuple((name, tensors[name].shape) for name in names)
    except (msgspec.DecodeError, KeyError) as error:
        raise WeightsError(f"{_KEY}: the file's order of tensors cannot be read: {error}.") from error
    return vector_digest(Layout(entries).flatten(tensors)) if entries else None


def baseline(plan: Plan, network: nn.Module) -> dict[str, np.ndarray] | None:
    """Every tensor of `network` as the file has it; None if the plan compares with none.

    Raises WeightsError if the file is not on this machine, is of another network, or holds a number that is not finite.
    """
    if (digest := compared_with(plan)) is None:
        return None
    try:
        given: Tensors = find_weights(digest)
    except (MessageError, WeightsError) as error:
        raise WeightsError(f"{_KEY}: {str(error).removeprefix('network.weights: ')}") from error
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    learned = {name for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    theirs = {name: tuple(value.shape) for name, value in given.items() if np.issubdtype(value.dtype, np.floating)}
    wrong = sorted(name for name in learned | theirs.keys() if theirs.get(name) != own.get(name))
    if wrong:
        raise WeightsError(
            f"{_KEY}: the file is of another network than the plan's {plan.network.name}: {len(wrong)} tensors are missing, "
            f"too many or of another shape, the first is {wrong[0]!r}. Only two models of one network can be paired."
        )
    if not all(np.isfinite(given[name]).all() for name in learned):
        raise WeightsError(f"{_KEY}: the file holds values that are not finite; no image can be scored with it.")
    return {name: np.array(given[name]) for name in own if name in given and tuple(given[name].shape) == own[name]}
