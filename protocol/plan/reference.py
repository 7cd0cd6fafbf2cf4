"""docs/plan.md, written from the schema: `python -m protocol.plan.reference > docs/plan.md`."""

from __future__ import annotations

from inspect import cleandoc
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from protocol.plan.allowlist import AUGMENTATION, NETWORKS, PREPROCESSING
from protocol.plan.model import Plan
from protocol.plan.part import Named, Part

_HEAD = """# The plan

Everything a federation does stands in one YAML file. Hospitals approve it by its digest: the SHA-256 of its canonical JSON
(RFC 8785) with every default written out, so comments, order and spelling of numbers do not matter and every meaning does.

`fedward plan new` writes a commented example, `fedward plan check FILE` explains every error with its line and builds the
network and the transforms once. YAML is read as version 1.2 (`no` is text), without aliases and without duplicate keys;
unknown keys are refused. This page is written from the schema by `python -m protocol.plan.reference`.
"""


def reference() -> str:
    """The whole page."""
    lines = [_HEAD, "## Top level", "", *table(Plan)]
    for name, field in Plan.model_fields.items():
        for part in _parts(field.annotation):
            lines += ["", f"## {name}", "", *_section(part)]
    for title, names in (("Networks", NETWORKS), ("Preprocessing", PREPROCESSING), ("Augmentation", AUGMENTATION)):
        lines += ["", f"## {title} allowed", "", ", ".join(f"`{name}`" for name in sorted(names)), ""]
    lines.append(
        "The names are MONAI's, in `monai.networks.nets` and `monai.transforms`, and their arguments too; `ColourTexture` is "
        "fedward's own ([dermoscopy.md](dermoscopy.md#why-features-that-cost-nothing))."
    )
    return "\n".join(lines) + "\n"


def _section(part: type[Part]) -> list[str]:
    lines = [cleandoc(part.__doc__ or ""), "", *table(part)]
    for name, field in part.model_fields.items():
        for inner in _parts(field.annotation):
            if not issubclass(inner, Named):
                lines += ["", f"### {name}: {inner.__name__}", "", *_section(inner)]
    return lines


def table(part: type[Part]) -> list[str]:
    """A Markdown table of its keys."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in part.model_fields.items():
        meaning = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{field.alias or name}` | {_type(field.annotation)} | {_default(field)} | {meaning} |")
    return rows


def _parts(kind: Any) -> list[type[Part]]:
    if isinstance(kind, type) and issubclass(kind, Part):
        return [kind]
    return [part for inner in get_args(kind) for part in _parts(inner)]


def _type(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _type(inner[0])
    if origin is Literal:
        return " \\| ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(_type(one) for one in inner if one is not type(None))
    if origin is tuple:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return "mapping"
    name: str = kind.__name__
    return {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}.get(name, name)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Part):
        return f"`{value.name}`" if hasattr(value, "name") and not isinstance(value, Plan) else "as below"
    if value is None:
        return "left out"
    if isinstance(value, tuple):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "empty"


if __name__ == "__main__":
    print(reference(), end="")
