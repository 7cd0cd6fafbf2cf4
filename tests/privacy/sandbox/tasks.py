"""Tasks for tests: trusted code that runs in forks."""

from __future__ import annotations

import numpy as np

from privacy.sandbox.module import load_module


def echo(state, values, arrays):
    return values, arrays


def load(state, values, arrays):
    state["module"] = load_module(values["source"], "mine.py")
    return {}, {}


def run(state, values, arrays):
    """Call `attack` of the module with what was given."""
    module = load_module(values["source"], "mine.py")
    return module.attack(state, values.get("given"), arrays)


def remember(state, values, arrays):
    state["calls"] = state.get("calls", 0) + 1
    return {"calls": state["calls"]}, {}


def gradient(state, values, arrays):
    """The gradient of one patient's mean loss through a small network."""
    import torch

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(2))
    loss = torch.nn.functional.cross_entropy(network(torch.from_numpy(arrays["images"])), torch.from_numpy(arrays["labels"]))
    grads = torch.autograd.grad(loss, list(network.parameters()))
    return {}, {"gradient": np.concatenate([grad.numpy().ravel() for grad in grads])}


TASKS = {task.__name__: task for task in (echo, load, run, remember, gradient)}
