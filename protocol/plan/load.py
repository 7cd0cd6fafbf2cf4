"""Read a plan; explain every error at once, each with its line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from protocol.errors import PlanError
from protocol.plan.model import Plan
from protocol.plan.module import with_module
from protocol.plan.nearest_key import nearest_key
from protocol.plan.part import Part
from protocol.plan.yaml_lines import line_of, read_yaml

P = TypeVar("P", bound=Part)
_MAX_BYTES = 1_000_000  # a plan is written by hand; more is a mistake or an attack


def load_plan(path: Path) -> Plan:
    """The plan in the YAML file `path`. Raises PlanError naming every wrong key with its line."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise PlanError(f"{path.name}: larger than {_MAX_BYTES} bytes; this is not a plan.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PlanError(f"{path.name}: cannot be read ({error.strerror}). `fedward plan new` writes an example.") from error
    except UnicodeDecodeError as error:
        raise PlanError(f"{path.name}: is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    return parse_part(
        text,
        Plan,
        name=path.name,
        advice="`fedward plan new` writes an example.",
        complete=lambda value: with_module(value, path.parent),
    )


def parse_plan(text: str, *, name: str = "plan") -> Plan:
    """The plan in `text` (YAML or JSON). Raises PlanError naming every wrong key with its line."""
    return parse_part(text, Plan, name=name, advice="`fedward plan new` writes an example.")


def parse_canonical(data: bytes) -> Plan:
    """The plan in the canonical bytes that travel. Raises PlanError; reads JSON only, which costs no more than its length."""
    if len(data) > _MAX_BYTES:
        raise PlanError(f"a plan of {len(data)} bytes; at most {_MAX_BYTES} are read.")
    try:
        return Plan.model_validate_json(data)
    except ValidationError as error:
        raise PlanError("\n".join(f"{_key(e['loc'])}: {_say(e, Plan)}" for e in error.errors()[:20])) from error


def parse_part(
    text: str, kind: type[P], *, name: str, advice: str, complete: Callable[[dict[str, Any]], dict[str, Any]] = dict
) -> P:
    """`text` (YAML or JSON) as one `kind`, after `complete`. Raises PlanError naming every wrong key with its line."""
    try:
        value, node = read_yaml(text)
    except yaml.YAMLError as error:
        raise PlanError(f"{name}: {_where(error)}") from error
    except RecursionError as error:
        raise PlanError(f"{name}: nested too deeply.") from error
    if not isinstance(value, dict):
        raise PlanError(f"{name}:1: a mapping of keys to values is expected. {advice}")
    try:
        return kind.model_validate_json(json.dumps(complete(value)))
    except ValidationError as error:
        lines = [line for e in error.errors() for line in _lines(name, node, e, kind)]
        raise PlanError("\n".join(lines)) from error


_NAMED = re.compile(r"^([a-z_]+(?:\.[a-z_]+)+)( |: )")  # a rule between two parts of a plan begins with the key it is about


def _lines(name: str, node: yaml.Node | None, error: Any, part: type[Part]) -> list[str]:
    """One line for each thing that is wrong, with the line of its key."""
    said, location = _say(error, part), error["loc"]
    if location or error["type"] != "value_error":
        return [f"{name}:{line_of(node, location)}: {_key(location)}: {said}"]
    lines: list[str] = []
    for one in said.split("; "):
        found = _NAMED.match(one)
        if found is None and lines:
            lines[-1] += f"; {one}"
        else:
            key, text = (found[1], one[found.end() :]) if found else ("plan", one)
            lines.append(f"{name}:{line_of(node, key.split('.') if found else [])}: {key}: {text}")
    return lines


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"not YAML: {problem}" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


_UNION_TAGS = frozenset(
    {
        "SGD",
        "Adam",
        "AdamW",
        "FedAvg",
        "FedProx",
        "FedAvgM",
        "FedAdam",
        "FedYogi",
        "FedAdagrad",
        "none",
        "local",
        "distributed",
        "mean",
        "median",
        "trimmed_mean",
        "krum",
        "quantised",
        "top_k",
    }
)


def _key(location: Sequence[str | int]) -> str:
    key = ""
    for step in location:
        if isinstance(step, int):
            key += f"[{step}]"
        elif step not in _UNION_TAGS:
            key += f".{step}" if key else step
    return key or "plan"


def _say(error: Any, part: type[Part]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        meant = nearest_key(part, error["loc"])
        return "is not a key fedward knows" + (f"; did you mean `{meant}`?" if meant else " (docs/plan.md lists them all)")
    if kind == "value_error":
        return str(context["error"])
    if kind.startswith("union_tag"):
        key = str(context.get("discriminator", "name")).strip("'")
        return f"{key} must be one of {context.get('expected_tags', 'the documented ones')}"
    got = error["input"]
    if kind in ("model_attributes_type", "model_type", "dict_type") and isinstance(got, str) and got in _UNION_TAGS:
        key = "mechanism" if error["loc"][-1:] == ("privacy",) else "name"
        return f"write {{{key}: {got}}}; docs/plan.md lists what else it takes"
    shown = "" if isinstance(got, dict | list) else f", not {got!r}"
    text = str(error["msg"]).removeprefix("Input ").replace("Tuple should", "list should").replace(" after validation", "")
    return f"{text}{shown}"
