"""The patient loop against Opacus, which knows one image a patient and the layers it has hooks for."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from privacy.clipping import PatientSum
from privacy.per_patient import patient_gradients

PATIENTS, SIDE = 4, 32


def small_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.GroupNorm(4, 8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def densenet() -> nn.Module:
    from monai.networks.nets import DenseNet

    network = DenseNet(
        2, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2), bn_size=2, norm=("group", {"num_groups": 2})
    )
    for module in network.modules():  # Opacus cannot see through operations in place
        if hasattr(module, "inplace"):
            module.inplace = False
    return network


def batch(images: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn((PATIENTS, images, 1, SIDE, SIDE), generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 3, (PATIENTS, images), generator=generator)


@pytest.mark.parametrize("build", [small_cnn, densenet])
def test_the_loop_agrees_with_opacus(build: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus import GradSampleModule

        assert callable(build)
        torch.manual_seed(0)
        network = build().double().train()
        x, y = batch()
        oracle = GradSampleModule(copy.deepcopy(network), loss_reduction="mean")
        functional.cross_entropy(oracle(x[:, 0]), y[:, 0]).backward()
    for index in range(PATIENTS):
        ours = patient_gradients(network, functional.cross_entropy, x[index], y[index])
        for gradient, parameter in zip(ours, oracle.parameters(), strict=True):
            torch.testing.assert_close(gradient, parameter.grad_sample[index], rtol=1e-6, atol=1e-9)


def test_a_patient_of_many_images_is_one_gradient_of_their_mean_loss() -> None:
    network = small_cnn().double()
    x, y = batch(images=5)
    together = patient_gradients(network, functional.cross_entropy, x[0], y[0])
    each = [patient_gradients(network, functional.cross_entropy, x[0, i : i + 1], y[0, i : i + 1]) for i in range(5)]
    for gradient, parts in zip(together, zip(*each, strict=True), strict=True):
        torch.testing.assert_close(gradient, sum(parts) / 5)


def test_frozen_parameters_are_left_out_and_unused_ones_are_zero() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused, self.frozen = nn.Linear(4, 2), nn.Linear(3, 3), nn.Linear(2, 2)
            self.frozen.requires_grad_(requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.frozen(self.used(x))
            return out

    network = Partly()
    gradients = patient_gradients(network, functional.cross_entropy, torch.randn(2, 4), torch.tensor([0, 1]))
    assert [tuple(gradient.shape) for gradient in gradients] == [(2, 4), (2,), (3, 3), (3,)]
    assert gradients[0].any()
    assert not gradients[2].any()
    assert all(parameter.grad is None for parameter in network.parameters())
    PatientSum([gradient.shape for gradient in gradients], 1.0).add(gradients)


def test_nothing_of_one_patient_reaches_the_next() -> None:
    network = small_cnn()
    x, y = batch(images=2)
    first = patient_gradients(network, functional.cross_entropy, x[0].float(), y[0])
    broken = patient_gradients(network, functional.cross_entropy, x[1].float() * torch.nan, y[1])
    again = patient_gradients(network, functional.cross_entropy, x[0].float(), y[0])
    assert broken[0].isnan().any()
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
