"""Patient gradients and their clipping know no task: MONAI's segmentation networks, a Dice loss, finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import SegResNet, UNet
from torch import nn

from privacy.clipping import SCALE, PatientSum
from privacy.network_scan import refuse_memory
from privacy.per_patient import patient_gradients

NETWORKS = {
    "UNet": lambda: UNet(
        spatial_dims=2, in_channels=1, out_channels=2, channels=(4, 8, 16), strides=(2, 2), norm=("group", {"num_groups": 2})
    ),
    "SegResNet": lambda: SegResNet(
        spatial_dims=2, in_channels=1, out_channels=2, init_filters=8, blocks_down=(1, 1), blocks_up=(1,)
    ),
}


def dice(output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    loss: torch.Tensor = DiceCELoss(to_onehot_y=True, softmax=True)(output, labels)
    return loss


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_of_a_patient_is_the_slope_of_the_patients_mean_loss_and_is_clipped(name: str) -> None:
    torch.manual_seed(0)
    network: nn.Module = NETWORKS[name]().double()
    images, labels = torch.rand(3, 1, 16, 16).double(), torch.randint(0, 2, (3, 1, 16, 16))
    gradients = patient_gradients(network, dice, images, labels)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    direction = [torch.randn_like(parameter) for parameter in parameters]
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
    step = 1e-6
    values = []
    with torch.no_grad():
        for sign in (1, -2):
            for parameter, along in zip(parameters, direction, strict=True):
                parameter += sign * step * along
            values.append(float(dice(network(images), labels)))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-4, abs=1e-6)
    total = PatientSum([parameter.shape for parameter in parameters], 1e-3)
    total.add(gradients)
    norm = np.sqrt(np.sum(total.integers().astype(object) ** 2))
    assert 0.98 * SCALE < norm <= SCALE


@pytest.mark.parametrize("name", NETWORKS)
def test_these_networks_hold_no_memory(name: str) -> None:
    refuse_memory(NETWORKS[name](), (1, 16, 16))
