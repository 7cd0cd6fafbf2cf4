"""What differs between two plans, key by key, so that an officer reads only what is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocol.plan import Plan


@dataclass(frozen=True)
class Change:
    """One key and its values as text; None where the plan does not have it."""

    key: str
    before: str | None
    after: str | None


def difference(before: Plan, after: Plan) -> tuple[Change, ...]:
    """Every key whose value differs, sorted."""
    old, new = dict(_leaves(before.to_json())), dict(_leaves(after.to_json()))
    return tuple(
        Change(key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)
    )


def _leaves(value: Any, key: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [leaf for name, inner in value.items() for leaf in _leaves(inner, f"{key}.{name}" if key else str(name))]
    if isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(one, Mapping | list) for one in value):
        return [leaf for number, inner in enumerate(value) for leaf in _leaves(inner, f"{key}[{number}]")]
    return [(key, repr(value))]
