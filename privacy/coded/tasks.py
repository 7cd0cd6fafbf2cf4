"""What a process of the plan's own module does when it is told to. Trusted code, but beside code that is not: whoever gets an
answer from here checks it.

`state` lives as long as the process. A call has JSON values and arrays, and so has its answer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import monai.networks.nets  # noqa: F401 - loaded once, before processes are made
import numpy as np
import torch
from torch import nn

from privacy.coded.packing import TYPES, Array, Spec, pack, unpack
from privacy.network_scan import refuse_memory
from privacy.sandbox.module import load_module, where
from privacy.sandbox.wire import Task
from protocol.errors import NetworkError
from protocol.network import build_network, check_network, logits
from protocol.parts import personal_names
from protocol.plan import parse_canonical
from protocol.plan.code import PREFIX, named_in_code

State = dict[str, Any]
Values = dict[str, Any]
Arrays = Mapping[str, Array]
Answer = tuple[dict[str, Any], dict[str, Array]]


def load(state: State, values: Values, arrays: Arrays) -> Answer:  # noqa: ARG001 - every task takes the same
    """Run the module of values["plan"], a plan in its canonical text, and build the network if it is the module's."""
    plan = parse_canonical(values["plan"].encode())
    if plan.code is None:
        raise NetworkError("the plan brings no module.")
    module = load_module(plan.code.source, plan.code.file)
    state["plan"] = plan
    if named_in_code(plan.network.name):
        network = build_network(plan, module)
        if values["channels_last"]:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        state["network"] = network
    if named_in_code(plan.training.loss.name):
        state["loss"] = getattr(module, plan.training.loss.name.removeprefix(PREFIX))
    return {}, {}


def describe(state: State, values: Values, arrays: Arrays) -> Answer:  # noqa: ARG001
    """What others need to know of the network: its tensors in order, which of them learn, which stay at a hospital.

    values["input"]: (C, H, W) of an image, or null. {"wrong": text} if the network is not fit for it, or not for privacy.
    """
    plan, network = state["plan"], state["network"]
    try:
        shape = None if values["input"] is None else tuple(values["input"])
        if shape is not None:
            check_network(network, shape, len(plan.task.classes))
            if plan.privacy.mechanism != "none":
                refuse_memory(network, shape)
        personal = personal_names(network, plan.federation.personal, len(plan.task.classes))
        tensors = _tensors(network)
    except NetworkError as error:
        at = f" ({where(error.__cause__)})" if error.__cause__ is not None else ""
        return {"wrong": f"{str(error)[:1500]}{at[:500]}"}, {}
    specs = _specs(tensors)
    first: dict[int, str] = {}
    rows = [
        [
            spec.name,
            list(spec.shape),
            spec.dtype,
            _kind(tensors[spec.name]),
            first.setdefault(id(tensors[spec.name]), spec.name),
        ]
        for spec in specs
    ]
    return {"tensors": rows, "personal": sorted(personal)}, pack(specs, _numpy(tensors), "")


def forward(state: State, values: Values, arrays: Arrays) -> Answer:
    """Logits (n, classes) of arrays["images"] (n, C, ...) with the tensors that came along; in training also its buffers."""
    network = state["network"]
    _seed(values)
    tensors = _tensors(network)
    specs = _specs(tensors)
    _load(tensors, unpack(specs, arrays, "tensor."))
    network.train(values["training"])
    images = torch.from_numpy(np.array(arrays["images"], dtype=np.float32))
    if values["channels_last"]:
        images = images.contiguous(memory_format=torch.channels_last)
    with torch.set_grad_enabled(values["gradient"]), torch.autocast("cpu", torch.bfloat16, enabled=values["bfloat16"]):
        output = logits(network, images).float()
    state["output"] = output
    answer = {"logits": output.detach().contiguous().numpy()}
    if values["training"]:
        buffers = [spec for spec in specs if _kind(tensors[spec.name]) == "buffer"]
        answer |= pack(buffers, _numpy(tensors), "buffer.")
    return {}, answer


def backward(state: State, values: Values, arrays: Arrays) -> Answer:
    """The gradient with respect to the parameters values["learned"], one after the other, given that of the logits."""
    tensors = _tensors(state["network"])
    learned = [tensors[name] for name in values["learned"]]
    given = torch.from_numpy(np.array(arrays["logits"], dtype=np.float32))
    # The product's gradient is the given one, to the bit; given to grad() itself, each process would load sympy for checks.
    product = (state.pop("output") * given).sum()
    found = torch.autograd.grad(product, learned, allow_unused=True, materialize_grads=True)
    return {}, {"gradient": np.concatenate([one.float().contiguous().numpy().reshape(-1) for one in found])}


def loss(state: State, values: Values, arrays: Arrays) -> Answer:
    """The module's loss () of logits (n, classes) and labels (n,), and its gradient with respect to the logits."""
    _seed(values)
    given = torch.from_numpy(np.array(arrays["logits"], dtype=np.float32)).requires_grad_(values["gradient"])
    with torch.set_grad_enabled(values["gradient"]):
        value = state["loss"](given, torch.from_numpy(np.array(arrays["labels"], dtype=np.int64)))
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        raise TypeError("the loss must be a tensor of one number, the mean over the images")
    answer = {"loss": value.detach().float().reshape(()).numpy()}
    if values["gradient"]:
        (answer["gradient"],) = (one.contiguous().numpy() for one in torch.autograd.grad(value, [given]))
    return {}, answer


TASKS: Mapping[str, Task] = {
    "load": load,
    "describe": describe,
    "forward": forward,
    "backward": backward,
    "loss": loss,
}


def _seed(values: Values) -> None:
    seed = values.get("seed")
    if seed is not None:
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # whatever the module draws from


def _tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    found = network.state_dict(keep_vars=True)
    for name, tensor in found.items():
        if not isinstance(tensor, torch.Tensor) or str(tensor.dtype).removeprefix("torch.") not in TYPES:
            raise NetworkError(f"network: {name!r} must be a tensor of one of {', '.join(TYPES)}.")
        if isinstance(tensor, nn.Parameter) and tensor.dtype != torch.float32:
            raise NetworkError(f"network: parameter {name!r} must be float32; mixed_precision is set in the plan.")
    return dict(found)


def _specs(tensors: Mapping[str, torch.Tensor]) -> list[Spec]:
    return [Spec(name, tuple(one.shape), str(one.dtype).removeprefix("torch.")) for name, one in tensors.items()]


def _numpy(tensors: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    return {name: tensor.detach().contiguous().numpy() for name, tensor in tensors.items()}


def _kind(tensor: torch.Tensor) -> str:
    if not isinstance(tensor, nn.Parameter):
        return "buffer"
    return "learned" if tensor.requires_grad else "still"


@torch.no_grad()
def _load(own: Mapping[str, torch.Tensor], given: Mapping[str, Array]) -> None:
    for name, value in given.items():
        own[name].copy_(torch.from_numpy(np.array(value)))
