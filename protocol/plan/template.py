"""A commented example plan, written from the schema itself so that it cannot fall behind it."""

from __future__ import annotations

import json
import textwrap
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from protocol.plan.code import Code
from protocol.plan.model import PLAN_SCHEMA, Plan
from protocol.plan.part import Part

_EXAMPLE: dict[str, Any] = {
    "schema": PLAN_SCHEMA,
    "name": "my-study",
    "title": "Finding on chest radiographs, four hospitals",
    "intended_use": "Research. Not for clinical decisions.",
    "seed": 7,
    "task": {
        "kind": "classification",
        "target": "finding",
        "classes": ["0", "1"],
        "class_names": ["no finding", "finding"],
    },
    "data": {
        "channels": 1,
        "preprocessing": [
            {"name": "Resize", "args": {"spatial_size": [64, 64]}},
            {"name": "NormalizeIntensity", "args": {"subtrahend": 0.5, "divisor": 0.25}},
        ],
        "augmentation": [{"name": "RandFlip", "args": {"prob": 0.5, "spatial_axis": 1}}],
    },
    "network": {
        "name": "Classifier",
        "args": {
            "in_shape": [1, 64, 64],
            "classes": 2,
            "channels": [16, 32, 64, 64],
            "strides": [2, 2, 2, 2],
            "num_res_units": 0,
            "norm": ["group", {"num_groups": 8}],
        },
    },
    "training": {"mu": 0.01, "local_steps": 10, "optimizer": {"name": "SGD", "lr": 0.5, "momentum": 0.9}},
    "federation": {"rounds": 20, "quorum": 3, "weighting": "uniform"},
    "evaluation": {
        "every": 5,
        "alone": False,
        "audit": {
            "attributes": ["sex", "age"],
            "intersections": [["sex", "age"]],
        },
    },
    "privacy": {"mechanism": "local", "epsilon": 8.0, "batch_patients": 50},
}


def plan_template() -> str:
    """The example as YAML: every key of the schema, its value, and above it what it means and allows."""
    plan = Plan.model_validate_json(json.dumps(_EXAMPLE))
    head = "# A fedward plan. `fedward plan check FILE` explains every error with its line.\n"
    return head + "\n".join(commented(plan)) + "\n"


def commented(part: Part, depth: int = 0) -> list[str]:
    """The lines of `part` as YAML: every key, its value, and above it what it means and allows."""
    lines: list[str] = []
    for name, field in type(part).model_fields.items():
        if depth == 0:
            lines.append("")
        lines += _field(part, name, field, depth)
    return lines


def _field(part: Part, name: str, field: FieldInfo, depth: int) -> list[str]:
    pad = "  " * depth
    text = textwrap.wrap(field.description or "", 110 - len(pad))
    return [*(f"{pad}# {line}" for line in text), *_entry(field.alias or name, getattr(part, name), field, pad, depth)]


def _entry(key: str, value: Any, field: FieldInfo, pad: str, depth: int) -> list[str]:
    if isinstance(value, Part) and "args" not in type(value).model_fields:
        return [f"{pad}{key}:", *commented(value, depth + 1)]
    if value is None:
        return [f"{pad}# {key}: {_example_of(field)}"]
    if isinstance(value, tuple) and value and all(isinstance(item, Part) for item in value):
        return [f"{pad}{key}:", *(f"{pad}  - {_inline(item)}" for item in value)]
    if isinstance(value, Part):
        own = {name: field for name, field in type(value).model_fields.items() if name not in ("name", "args")}
        lines = [f"{pad}{key}:", f"{pad}  name: {value.name}", f"{pad}  args: {_inline(value.args)}"]  # type: ignore[attr-defined]
        return lines + [line for name, field in own.items() for line in _field(value, name, field, depth + 1)]
    return [f"{pad}{key}: {_inline(value)}"]


def _inline(value: Any) -> str:
    if isinstance(value, Part):
        value = value.model_dump(mode="json")
    return json.dumps(value, ensure_ascii=False)


def _example_of(field: FieldInfo) -> str:
    """A stand-in for an optional value that is left out."""
    kind: Any = field.annotation
    while get_origin(kind) in (Annotated, Union, UnionType):
        kind = next(arg for arg in get_args(kind) if arg is not type(None))
    if get_origin(kind) is Literal:
        return str(get_args(kind)[0])
    if kind is Code:
        return '{"file": "my_network.py"}'
    return {int: "1", str: '"..."'}.get(kind, "1.0")
