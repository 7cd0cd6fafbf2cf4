"""What a process says of its network is read as a stranger's word; what stands in for the network has its shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from privacy.coded.facts import MAX_VALUES, read_facts
from privacy.coded.forks import Forks
from privacy.coded.packing import Spec, pack, unpack
from privacy.coded.proxy import CodedNetwork
from privacy.coded.tasks import describe
from protocol.errors import CodeError, NetworkError
from protocol.parts import shared_layout
from tests.conftest import tiny_plan
from tests.privacy.coded.modules import SAME, coded

GOOD: dict[str, Any] = {"tensors": [["a.weight", [2, 3], "float32", "learned", "a.weight"]], "personal": []}
ARRAYS = {"float32": np.zeros(6, dtype=np.float32)}


def row(**changes: Any) -> dict[str, Any]:
    keys = ("name", "shape", "dtype", "kind", "same_as")
    first = dict(zip(keys, GOOD["tensors"][0], strict=True)) | changes
    return {"tensors": [[first[key] for key in keys]]}


@pytest.mark.parametrize(
    "changes",
    [
        {"tensors": None},
        {"tensors": []},
        {"tensors": [["a.weight"]]},
        {"tensors": [GOOD["tensors"][0]] * 2},
        {"personal": ["another"]},
        {"personal": "a.weight"},
        row(name="../weight"),
        row(name=""),
        row(name="a..b"),
        row(name="x" * 65),
        row(shape=[-2, -3]),
        row(shape=[2, 4]),
        row(shape=[MAX_VALUES, 2]),
        row(shape=[1] * 9),
        row(dtype="float16"),
        row(dtype="float64"),
        row(dtype="object", kind="buffer"),
        row(kind="grand"),
        row(same_as="b"),
    ],
)
def test_an_answer_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    assert read_facts(GOOD, ARRAYS).tensors[0].spec == Spec("a.weight", (2, 3), "float32")
    with pytest.raises(CodeError):
        read_facts({**GOOD, **changes}, ARRAYS)


@pytest.mark.parametrize(
    "arrays", [{}, {"float32": np.zeros(5, np.float32)}, {"float32": np.zeros((2, 3), np.float32)}, {"float32": np.zeros(6)}]
)
def test_values_that_are_not_the_network_s_are_refused(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(CodeError, match="another shape"):
        read_facts(GOOD, arrays)


@pytest.mark.parametrize("name", ["_fedward_forks", "forward", "a.forward", "_parameters.x"])
def test_a_tensor_cannot_take_the_place_of_something_else(name: str) -> None:
    facts = read_facts({**GOOD, **row(name=name, same_as=name)}, ARRAYS)
    with pytest.raises(NetworkError, match="cannot be called"):
        CodedNetwork(facts, no_forks(), 2)


def no_forks() -> Forks:
    return Forks(coded(SAME), one_patient=False, channels_last=True)


class Shared(nn.Module):
    """Two names of one weight, a buffer of each type, one that does not travel, and children out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Linear(3, 2)
        self.tied = nn.Linear(3, 2)
        self.tied.weight = self.late.weight
        self.deep = nn.Sequential(nn.Sequential(nn.BatchNorm2d(3)), nn.Identity())
        self.still = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("unseen", torch.ones(2), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.late(images)


def test_the_network_s_tensors_come_back_with_their_names_order_types_and_sharing() -> None:
    network = Shared()
    plan = tiny_plan()
    values, arrays = describe({"plan": plan, "network": network}, {"input": None}, {})
    stand_in = CodedNetwork(read_facts(values, arrays), no_forks(), 2)
    own, theirs = stand_in.state_dict(), network.state_dict()
    assert list(own) == list(theirs)
    assert all(torch.equal(own[name], theirs[name]) and own[name].dtype == theirs[name].dtype for name in own)
    assert [name for name, _ in stand_in.named_parameters()] == [name for name, _ in network.named_parameters()]
    assert [one.requires_grad for one in stand_in.parameters()] == [one.requires_grad for one in network.parameters()]
    assert shared_layout(stand_in, frozenset()) == shared_layout(network, frozenset())


def test_a_network_that_holds_something_else_than_tensors_says_so() -> None:
    class Odd(nn.Module):
        def get_extra_state(self) -> str:
            return "mine"

        def set_extra_state(self, state: str) -> None:
            pass

    half = nn.Linear(2, 2).half()
    for network, says in ((Odd(), "_extra_state"), (half, "float16|one of")):
        values, _ = describe({"plan": tiny_plan(), "network": network}, {"input": None}, {})
        with pytest.raises(NetworkError, match=says):
            read_facts(values, {})


def test_tensors_travel_by_type_and_come_back_whole() -> None:
    specs = [Spec("a", (2, 2), "float32"), Spec("b", (), "int64"), Spec("c", (3,), "bool"), Spec("d", (1,), "float32")]
    tensors = {
        "a": np.eye(2, dtype=np.float32),
        "b": np.array(7),
        "c": np.array([True, False, True]),
        "d": np.ones(1, np.float32),
    }
    packed = pack(specs, tensors, "x.")
    assert sorted(packed) == ["x.bool", "x.float32", "x.int64"]
    found = unpack(specs, packed, "x.")
    assert all(np.array_equal(found[name], tensors[name]) and found[name].dtype == tensors[name].dtype for name in tensors)
