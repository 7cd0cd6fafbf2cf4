"""The model that an audit compares with: which plans may name one, and which files are one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import save_file

from protocol.baseline import baseline, compared_with, released_digest
from protocol.errors import WeightsError
from protocol.network import build_network, tensors_of
from protocol.parts import shared_layout
from protocol.plan import Plan
from protocol.vectors import vector_digest
from protocol.weights import add_weights, weights_file
from tests.conftest import PRIVATE, tiny_plan

NONE = "sha256:" + "0" * 64


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDWARD_WEIGHTS", str(tmp_path / "weights"))


def comparing(digest: str = NONE, **changes: Any) -> Plan:
    audit = changes.pop("audit", {})
    return tiny_plan(**{"evaluation": {"alone": False, "audit": {"compare_with": digest, **audit}}, **changes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({**PRIVATE, "evaluation": None}, "compare_with: under privacy noise drowns"),
        ({"federation.personal": ["norm"]}, "compare_with: with federation.personal"),
        ({"audit": {"compare_with": "the old one"}}, "compare_with"),
        (
            {
                "audit": {
                    "attributes": ["sex", "age"],
                    "age_edges": list(range(5, 85, 5)),
                    "intersections": [["sex", "age"], ["sex", "manufacturer"], ["age", "modality"]],
                    "values": {"manufacturer": ["Acme", "Bolt"], "modality": ["CR", "DX"]},
                }
            },
            "at most 128 are allowed with compare_with",
        ),
    ],
)
def test_a_plan_that_cannot_be_paired_is_refused_with_what_to_write_instead(changes: dict[str, Any], says: str) -> None:
    changes = {key: value for key, value in changes.items() if value is not None}
    with pytest.raises(ValidationError, match=says):
        comparing(**changes)


def test_a_plan_without_one_compares_with_nothing() -> None:
    plan = tiny_plan()
    assert compared_with(plan) is None
    assert baseline(plan, build_network(plan)) is None


def test_the_whole_file_is_taken_and_has_the_digest_that_its_job_reported(tmp_path: Path) -> None:
    network = build_network(tiny_plan(seed=5))
    layout = shared_layout(network, frozenset())
    vector = layout.flatten(tensors_of(network))
    order = '["' + '", "'.join(name for name, _ in layout.entries) + '"]'
    save_file({name: np.array(value) for name, value in tensors_of(network).items()}, tmp_path / "model", {"order": order})
    digest = add_weights(tmp_path / "model")
    plan = comparing(digest)
    found = baseline(plan, build_network(plan))
    assert found is not None
    assert found.keys() == tensors_of(network).keys()
    assert layout.flatten(found).tobytes() == vector.tobytes()
    assert released_digest(digest) == vector_digest(vector)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("less", "another network.* 1 tensors are missing"),
        ("more", "another network"),
        ("shape", "of another shape"),
        ("nan", "not finite"),
        ("changed", "was changed"),
    ],
)
def test_a_file_that_is_not_a_whole_model_of_the_plan_s_network_is_refused(how: str, says: str, tmp_path: Path) -> None:
    tensors = {name: np.array(value) for name, value in tensors_of(build_network(tiny_plan())).items()}
    name = next(name for name, value in tensors.items() if value.dtype == np.float32)
    if how == "less":
        del tensors[name]
    elif how == "more":
        tensors["another.weight"] = np.zeros(3, dtype=np.float32)
    elif how == "shape":
        tensors[name] = np.concatenate([tensors[name], tensors[name]])
    elif how == "nan":
        tensors[name] = np.full_like(tensors[name], np.nan)
    save_file(tensors, tmp_path / "model")
    digest = add_weights(tmp_path / "model")
    if how == "changed":
        weights_file(digest).write_bytes(weights_file(digest).read_bytes() + b" ")
    plan = comparing(digest)
    with pytest.raises(WeightsError, match=f"^evaluation.audit.compare_with: .*{says}"):
        baseline(plan, build_network(plan))


def test_a_file_that_nobody_added_is_asked_for() -> None:
    plan = comparing()
    with pytest.raises(WeightsError, match=r"^evaluation.audit.compare_with: no file sha256:0.*fedward weights add"):
        baseline(plan, build_network(plan))


def test_a_file_of_somebody_else_has_no_job_s_digest(tmp_path: Path) -> None:
    save_file({"a": np.zeros(3, dtype=np.float32)}, tmp_path / "model")
    assert released_digest(add_weights(tmp_path / "model")) is None
