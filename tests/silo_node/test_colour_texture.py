"""ColourTexture: known values, invariance, and a direct convolution as the oracle of its wavelets."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from protocol.errors import NetworkError
from protocol.network import build_network, check_network, n_parameters
from protocol.plan import load_plan
from protocol.plan.part import Named
from silo_node.training.colour_texture import ColourTexture, amplitudes, log_colours, memberships, wavelets, zones
from silo_node.training.transforms import Pipeline, fixed_shape

EXAMPLE = Path(__file__).parents[2] / "examples" / "dermoscopy" / "plan-private.yaml"


def picture(height: int = 24, width: int = 24, seed: int = 0) -> torch.Tensor:
    """A smooth coloured image that looks the same from no two sides."""
    coarse = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0.05, 1.0)[0]


def test_an_even_image_falls_into_known_bins_and_has_no_texture() -> None:
    image = torch.full((3, 32, 32), math.exp(-0.8) - 0.02)  # log brightness -0.8, both ratios 0
    features = ColourTexture(bins=9, scales=3)(image).flatten()
    assert features.shape == (9 * (9 + 3),)
    shares = (features[:81].view(3, 3, 9) / 3.0 + 1.0 / 3.0) ** 2
    expected = torch.zeros(3, 9)
    expected[0, 4] = 1.0  # -0.8 is the middle of -1.6 to 0
    expected[1, 0], expected[1, 1] = 1.0 / 9.0, 8.0 / 9.0  # bins lie 0.1125 apart from -0.1: 0 is 8/9 of the way
    expected[2, 4] = 1.0
    assert torch.allclose(shares, expected[:, None].expand(3, 3, 9), atol=1e-5)
    silence = 3.0 * (math.log(3e-3) - math.log(0.02)) / 2.0
    assert torch.allclose(features[81:], torch.full((27,), silence), atol=5e-3)


@pytest.mark.parametrize("turned", [lambda x: x.rot90(1, (1, 2)), lambda x: x.rot90(2, (1, 2)), lambda x: x.flip(2)])
def test_a_turned_or_mirrored_lesion_has_the_same_features(turned: object) -> None:
    features, image = ColourTexture(), picture()
    same, other = features(turned(image)), features(picture(seed=1))  # type: ignore[operator]
    assert torch.allclose(same, features(image), atol=2e-3)
    assert not torch.allclose(other, features(image), atol=0.3)


def test_wavelet_amplitudes_are_those_of_a_direct_convolution() -> None:
    """The Morlet wavelet written in space, moved over the reflected image pixel by pixel."""
    image = log_colours(picture(20, 26))
    scales, turns, margin = 2, 3, 16
    found = amplitudes(image, wavelets(20 + 2 * margin, 26 + 2 * margin, scales, turns))
    padded = torch.nn.functional.pad(image, (margin,) * 4, mode="reflect").double()
    reach = 12
    y, x = torch.meshgrid(*[torch.arange(-reach, reach + 1, dtype=torch.float64)] * 2, indexing="ij")
    for scale in range(scales):
        spread, middle = 0.8 * 2**scale, 0.75 * math.pi / 2**scale
        envelope = torch.exp(-(x**2 + y**2) / (2 * spread**2)) / (2 * math.pi * spread**2)
        for row, column in ((0, 0), (9, 13), (19, 25)):
            patch = padded[:, row + margin - reach : row + margin + reach + 1, column + margin - reach :][..., : 2 * reach + 1]
            total = torch.zeros(3, dtype=torch.float64)
            for turn in range(turns):
                angle = math.pi * turn / turns
                wave = torch.exp(1j * middle * (x * math.cos(angle) + y * math.sin(angle)))
                wavelet = envelope * (wave - (envelope * wave).sum() / envelope.sum())
                total += (patch * wavelet.flip(0, 1)).sum(dim=(1, 2)).abs()
            assert torch.allclose(found[:, scale, row, column].double(), total / turns, atol=1e-4)


def test_a_brighter_lamp_moves_only_the_brightness() -> None:
    image = picture().clamp(min=0.3) * 0.5
    dim, bright = log_colours(image), log_colours(image * 2.0)
    assert torch.allclose(dim[1:], bright[1:], atol=0.12)
    assert torch.allclose(bright[0] - dim[0], torch.full((24, 24), math.log(2.0)), atol=0.12)


def test_shares_and_zones_sum_to_one_and_wavelets_ignore_an_even_light() -> None:
    colours = log_colours(torch.rand(3, 40, 30) * 3.0 - 1.0)  # also out of range
    assert torch.allclose(memberships(colours, 5).sum(dim=1), torch.ones(3, 40, 30), atol=1e-5)
    assert torch.allclose(zones(40, 30).sum(dim=(1, 2)), torch.ones(3), atol=1e-5)
    assert wavelets(40, 30, 4, 4)[..., 0, 0].abs().max() == 0.0


def test_what_other_images_went_through_before_changes_nothing() -> None:
    features, image = ColourTexture(), picture()
    first = features(image)
    features(picture(40, 60, seed=2))
    assert torch.equal(features(image), first)


@pytest.mark.parametrize(
    ("args", "shape", "says"),
    [({}, (1, 32, 32), "data.channels"), ({}, (3, 16, 40), "more than 16"), ({"bins": 1}, (3, 32, 32), "bins is 2 to 64")],
)
def test_what_it_cannot_take_is_refused_by_name(args: dict[str, int], shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(NetworkError, match=r"data\.preprocessing\[0\]: ColourTexture.*" + says):
        Pipeline([Named(name="ColourTexture", args=dict(args))], "data.preprocessing")(torch.zeros(shape))


def test_the_private_example_learns_few_values_on_features_of_one_size() -> None:
    plan = load_plan(EXAMPLE)
    network = build_network(plan)
    check_network(network, fixed_shape(plan), 2)
    assert n_parameters(network) == 108 * 64 + 64 + 64 * 2 + 2
