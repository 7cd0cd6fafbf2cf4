"""What an honest module does with torch and MONAI works behind the walls, on one thread and without writing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

HONEST = {
    "a network and its gradient": """
import torch
from torch import nn
def attack(state, given, arrays):
    layers = []
    for first in (1, 16, 16):
        layers += [nn.Conv2d(first, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(2))
    nn.functional.cross_entropy(network(torch.rand(4, 1, 32, 32)), torch.zeros(4, dtype=torch.long)).backward()
    return {}, {}
""",
    "an optimiser": """
import torch
def attack(state, given, arrays):
    network = torch.nn.Linear(4, 2)
    optimiser = torch.optim.Adam(network.parameters())
    for _ in range(3):
        optimiser.zero_grad()
        network(torch.ones(1, 4)).sum().backward()
        optimiser.step()
    return {}, {}
""",
    "checkpoints": """
import torch
from torch.utils.checkpoint import checkpoint
def attack(state, given, arrays):
    for reentrant in (True, False):
        x = torch.ones(1, 4, requires_grad=True)
        checkpoint(torch.nn.Linear(4, 4), x, use_reentrant=reentrant).sum().backward()
    return {}, {}
""",
    "vmap": """
import torch
from torch.func import functional_call, grad, vmap
def attack(state, given, arrays):
    network = torch.nn.Linear(4, 1)
    one = grad(lambda p, x: functional_call(network, p, (x,)).sum())
    return {}, {k: g.numpy() for k, g in vmap(one, (None, 0))(dict(network.named_parameters()), torch.ones(3, 4)).items()}
""",
    "MONAI": """
import torch
from monai.losses import DiceCELoss, FocalLoss
from monai.networks.nets import UNet, ViT, resnet18
def attack(state, given, arrays):
    network = resnet18(spatial_dims=2, n_input_channels=1, num_classes=2)
    FocalLoss()(network(torch.rand(2, 1, 64, 64)), torch.eye(2)).backward()
    network = UNet(2, 1, 2, (8, 16), (2,))
    DiceCELoss(softmax=True, to_onehot_y=True)(network(torch.rand(2, 1, 32, 32)), torch.ones(2, 1, 32, 32)).backward()
    network = ViT(1, (32, 32), (16, 16), hidden_size=24, mlp_dim=48, num_heads=2, num_layers=1, spatial_dims=2)
    network(torch.rand(1, 1, 32, 32))[0].sum().backward()
    return {}, {}
""",
    "more threads than there are": """
import torch
def attack(state, given, arrays):
    torch.set_num_threads(4)
    (torch.rand(500, 500) @ torch.rand(500, 500)).sum()
    torch.nn.functional.conv2d(torch.rand(4, 8, 64, 64), torch.rand(8, 8, 3, 3))
    return {}, {}
""",
    "bfloat16": """
import torch
def attack(state, given, arrays):
    network = torch.nn.Conv2d(1, 8, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = network(torch.rand(1, 1, 16, 16)).float().sum()
    loss.backward()
    return {}, {}
""",
    "the standard library": """
import dataclasses, decimal, json, statistics, typing, unicodedata, uuid, zoneinfo, ctypes, sqlite3, xml.etree.ElementTree
@dataclasses.dataclass
class Here:
    x: int = 3
def attack(state, given, arrays):
    import numpy, random, scipy.ndimage, time, torch
    time.localtime(), random.random(), numpy.linalg.inv(numpy.eye(3)), torch.linalg.svd(torch.rand(9, 9))
    return {"x": Here().x, "gpu": torch.cuda.is_available()}, {}
""",
}


@pytest.mark.parametrize("what", HONEST)
def test_it_works_inside(attack: Callable[..., dict[str, Any]], what: str) -> None:
    attack(HONEST[what])
