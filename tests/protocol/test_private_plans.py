"""What a private plan may not hold, each with what to write instead; and networks rebuilt to carry no memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import save_file

from privacy.network_scan import refuse_memory, refuse_unlearned
from protocol.errors import NetworkError, WeightsError
from protocol.network import build_network, tensors_of
from protocol.parts import shared_layout
from protocol.weights import add_weights
from tests.conftest import PRIVATE, SIZE, tiny_plan

RESNET = {
    "name": "resnet18",
    "args": {"spatial_dims": 2, "n_input_channels": 1, "num_classes": 2, "norm": ["group", {"num_groups": 8}]},
}


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("training.sampling", "balanced", "training.sampling"),
        ("training.clip_grad_norm", 1.0, "privacy.clip_norm"),
        ("training.loss", {"class_weights": "balanced"}, "class_weights"),
        ("training.loss", {"prior_adjustment": 1.0}, "prior_adjustment"),
        ("federation.weighting", "samples", "sends counts"),
        ("federation.weighting", "positives", "sends counts"),
        ("evaluation", {"alone": True}, "evaluation.alone"),
        ("evaluation", {"alone": False, "personalise": "fine_tune"}, "personalise"),
        ("privacy.epsilon", 8.0, "exactly one"),
        ("privacy.noise_multiplier", None, "exactly one"),
        ("privacy.batch_patients", None, "batch_patients"),
        ("privacy.sampling", "shuffle", "poisson"),
        ("privacy.sampling_rate", 0.0, "greater than or equal"),
        ("privacy.noise_multiplier", 0.001, "greater than or equal"),
        ("privacy.delta", 0.1, "less than"),
        ("privacy.metrics_epsilon", 0.0, "greater than 0"),
        ("privacy.seed", 3, "seed"),
    ],
)
def test_what_no_noise_would_cover_is_refused(key: str, value: Any, says: str) -> None:
    changes: dict[str, Any] = dict(PRIVATE) | {"privacy": dict(PRIVATE["privacy"])}
    with pytest.raises(ValidationError) as caught:
        tiny_plan(**(changes | {key: value}))
    assert says in str(caught.value)


def test_public_class_weights_are_allowed_one_a_class() -> None:
    assert tiny_plan(**PRIVATE, **{"training.loss": {"class_weights": [1.0, 4.0]}})
    with pytest.raises(ValidationError, match="3 numbers for 2 classes"):
        tiny_plan(**PRIVATE, **{"training.loss": {"class_weights": [1.0, 4.0, 2.0]}})


def test_a_private_and_an_open_plan_are_different_plans() -> None:
    open_plan = tiny_plan(**{key: value for key, value in PRIVATE.items() if key != "privacy"})
    assert open_plan.digest != tiny_plan(**PRIVATE).digest


# ------------------------------------------------------------------------------------------------- networks without memory


def test_batch_norm_that_hides_behind_another_name_is_found_in_the_built_network_and_rebuilt() -> None:
    """MONAI's resnet18(norm=group) still holds BatchNorm."""
    plan = tiny_plan(**PRIVATE, network=RESNET)
    network = build_network(plan)
    with pytest.raises(NetworkError, match=r"'layer1.0.bn1' is a BatchNorm2d.*network.norm to group"):
        refuse_memory(network, (1, SIZE, SIZE))
    rebuilt = build_network(tiny_plan(**PRIVATE, network={**RESNET, "norm": "group"}))
    refuse_memory(rebuilt, (1, SIZE, SIZE))
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in rebuilt.modules())
    refuse_unlearned(rebuilt, shared_layout(rebuilt, frozenset()))


class Remembers(torch.nn.Module):
    """Keeps a running mean of its inputs, without being any known normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(SIZE * SIZE, 2)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen += images.mean()
        result: torch.Tensor = self.linear(images.flatten(1))
        return result


def test_a_layer_of_any_kind_that_remembers_is_refused_and_left_as_it_was() -> None:
    network = Remembers()
    with pytest.raises(NetworkError, match="'seen'"):
        refuse_memory(network, (1, SIZE, SIZE))
    assert network.seen.item() == 0.0
    with pytest.raises(NetworkError, match="no trained parameter"):
        refuse_unlearned(network, shared_layout(network, frozenset()))


def test_an_instance_norm_with_running_statistics_is_refused() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.InstanceNorm2d(2, track_running_stats=True))
    with pytest.raises(NetworkError, match="InstanceNorm2d"):
        refuse_memory(network, (1, SIZE, SIZE))


# ---------------------------------------------------------------------------------------------------------- public weights


@pytest.fixture
def public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of weights of a resnet18 with BatchNorm, with another head."""
    monkeypatch.setenv("FEDWARD_WEIGHTS", str(tmp_path / "kept"))
    args = {"spatial_dims": 2, "n_input_channels": 1, "num_classes": 5}
    five = [str(n) for n in range(5)]
    donor = build_network(tiny_plan(seed=99, network={"name": "resnet18", "args": args}, **{"task.classes": five}))
    for name, buffer in donor.named_buffers():
        if name.endswith("running_mean"):
            buffer.fill_(0.25)
    save_file({name: np.ascontiguousarray(value) for name, value in tensors_of(donor).items()}, tmp_path / "public.safetensors")
    return add_weights(tmp_path / "public.safetensors")


def frozen_plan(digest: str, **changes: Any) -> Any:
    args = {"spatial_dims": 2, "n_input_channels": 1, "num_classes": 2}
    network = {"name": "resnet18", "args": args, "norm": "frozen", "weights": digest}
    return tiny_plan(**PRIVATE, network=network, **changes)


def test_a_frozen_backbone_keeps_its_public_weights_and_only_the_head_learns_and_travels(public: str) -> None:
    network = build_network(frozen_plan(public, **{"training.trainable": ["head"]}))
    refuse_memory(network, (1, SIZE, SIZE))
    layout = shared_layout(network, frozenset())
    assert {name for name, _ in layout.entries} == {"fc.weight", "fc.bias"}
    refuse_unlearned(network, layout)
    assert float(network.get_buffer("bn1.running_mean").mean()) == 0.25
    again = build_network(frozen_plan(public, seed=123, **{"training.trainable": ["head"]}))
    own = tensors_of(again)
    assert all(np.array_equal(value, own[name]) for name, value in tensors_of(network).items() if not name.startswith("fc"))


def test_a_frozen_batch_norm_computes_what_the_batch_norm_did(public: str) -> None:
    from protocol.normalisation import FrozenBatchNorm

    layer = torch.nn.BatchNorm2d(4).eval()
    torch.nn.init.uniform_(layer.weight)
    layer.running_mean.uniform_()  # type: ignore[union-attr]
    layer.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
    images = torch.rand(3, 4, 5, 5)
    assert torch.allclose(FrozenBatchNorm(layer)(images), layer(images), atol=1e-6)


def test_weights_that_are_missing_changed_or_of_another_network_are_refused(
    public: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match="fedward weights add"):
        build_network(frozen_plan("sha256:" + "0" * 64))
    other = tiny_plan(**{"network.weights": public})
    with pytest.raises(WeightsError, match="not in the file in that shape"):
        build_network(other)
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1] + b"\0")
    with pytest.raises(WeightsError, match="was changed"):
        build_network(frozen_plan(public))
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(WeightsError, match="not a readable safetensors"):
        add_weights(tmp_path / "text")


def test_parts_that_do_not_exist_or_would_move_without_learning_are_refused() -> None:
    with pytest.raises(NetworkError, match="the network has no part"):
        build_network(tiny_plan(**{"training.trainable": ["tail"]}))
    plain = {"name": "resnet18", "args": {"spatial_dims": 2, "n_input_channels": 1, "num_classes": 2}}
    with pytest.raises(NetworkError, match="would still move its statistics"):
        build_network(tiny_plan(network=plain, **{"training.trainable": ["head"]}))
