from __future__ import annotations

import numpy as np
import pytest
import torch

from protocol.errors import NetworkError
from protocol.network import build_network, check_network, logits, tensors_of
from protocol.parts import personal_names, shared_layout
from protocol.plan.allowlist import AUGMENTATION, NETWORKS, OWN_PREPROCESSING, PREPROCESSING
from tests.conftest import SIZE, tiny_plan


def test_every_allowed_name_exists_in_monai_or_is_our_own() -> None:
    from monai import transforms
    from monai.networks import nets

    assert [name for name in NETWORKS if not hasattr(nets, name)] == []
    assert [name for name in (PREPROCESSING - OWN_PREPROCESSING) | AUGMENTATION if not hasattr(transforms, name)] == []


def test_the_seed_fixes_the_initial_weights_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first, again, other = build_network(tiny_plan()), build_network(tiny_plan()), build_network(tiny_plan(seed=4))
    assert torch.equal(torch.random.get_rng_state(), before)
    layout = shared_layout(first, frozenset())
    assert layout.flatten(tensors_of(first)).tobytes() == layout.flatten(tensors_of(again)).tobytes()
    assert layout.flatten(tensors_of(first)).tobytes() != layout.flatten(tensors_of(other)).tobytes()


def test_norm_and_head_are_found_and_stay_out_of_the_shared_layout() -> None:
    network = build_network(tiny_plan())
    personal = personal_names(network, ("norm", "head"), 2)
    modules = dict(network.named_modules())
    kinds = {type(modules[name.rpartition(".")[0]]).__name__ for name in personal}
    assert kinds == {"GroupNorm", "Linear"}
    shared = {name for name, _ in shared_layout(network, personal).entries}
    assert not shared & personal
    assert shared | personal == set(network.state_dict())


def test_batch_norm_counters_do_not_travel() -> None:
    plan = tiny_plan(
        **{"network.args": {"in_shape": [1, 16, 16], "classes": 2, "channels": [4], "strides": [2], "norm": "batch"}}
    )
    network = build_network(plan)
    names = {name for name, _ in shared_layout(network, frozenset()).entries}
    assert any(name.endswith("running_mean") for name in names)
    assert not any("num_batches" in name for name in names)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"network.args": {"in_shape": [1, 16, 16]}}, "refused"),
        ({"network.args": {"colour": 3}}, "refused"),
    ],
)
def test_arguments_that_monai_refuses_are_a_clear_error(change: dict[str, object], says: str) -> None:
    with pytest.raises(NetworkError, match=says):
        build_network(tiny_plan(**change))


def test_a_network_that_does_not_fit_the_images_or_classes_is_a_clear_error() -> None:
    network = build_network(tiny_plan())
    check_network(network, (1, SIZE, SIZE), 2)
    with pytest.raises(NetworkError, match="cannot take"):
        check_network(network, (3, SIZE, SIZE), 2)
    with pytest.raises(NetworkError, match=r"needs \[1, 3\]"):
        check_network(network, (1, SIZE, SIZE), 3)


def test_unknown_or_all_personal_parts_are_refused() -> None:
    network = build_network(tiny_plan())
    with pytest.raises(NetworkError, match="no part 'attention'"):
        personal_names(network, ("attention",), 2)
    with pytest.raises(NetworkError, match="nothing is left"):
        shared_layout(network, frozenset(network.state_dict()))


def test_networks_that_return_hidden_states_too_are_read_rightly() -> None:
    args = {"in_channels": 1, "img_size": [16, 16], "patch_size": [8, 8], "hidden_size": 8, "mlp_dim": 16, "num_layers": 1}
    args |= {"num_heads": 2, "classification": True, "num_classes": 2, "spatial_dims": 2, "post_activation": None}
    network = build_network(tiny_plan(**{"network.name": "ViT", "network.args": args}))
    check_network(network, (1, 16, 16), 2)
    assert logits(network, torch.zeros(3, 1, 16, 16)).shape == (3, 2)
    assert np.isfinite(logits(network, torch.zeros(1, 1, 16, 16)).detach().numpy()).all()
