"""What differs between two plans, key by key, so that an officer reads only what is new."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocol.plan import Plan
from protocol.plan.about_code import lines_of
from protocol.plan.code import Code
from silo_node.governance.program import escaped

_SOURCE = "code.source"
_MOST_LINES = 2_000  # comparing takes, at worst, the square of it: a plan that was made for that must not hold up an officer


@dataclass(frozen=True)
class Change:
    """One key and its values as text; None where the plan does not have it.

    `lines`: of a program, what was taken out ("-"), put in ("+") and stands around it, as `diff -u` writes it.
    """

    key: str
    before: str | None
    after: str | None
    lines: tuple[str, ...] = ()


def difference(before: Plan, after: Plan) -> tuple[Change, ...]:
    """Every key whose value differs, sorted."""
    old, new = dict(_leaves(before.to_json())), dict(_leaves(after.to_json()))
    keys = (key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key))
    return tuple(
        _program(before.code, after.code) if key == _SOURCE else Change(key, old.get(key), new.get(key)) for key in keys
    )


def _program(before: Code | None, after: Code | None) -> Change:
    old, new = (lines_of(code.source) if code else [] for code in (before, after))
    was, now = (f"{len(lines):,} lines" if code else None for code, lines in ((before, old), (after, new)))
    if before is None or after is None:
        return Change(_SOURCE, was, now)  # the whole of it is new, or gone
    if max(len(old), len(new)) > _MOST_LINES:
        return Change(_SOURCE, was, now, ("too long to be compared line by line; read the whole program",))
    names = (f"{before.file} as approved", f"{after.file} now")
    lines = tuple(escaped(line) for line in difflib.unified_diff(old, new, *names, lineterm=""))
    return Change(_SOURCE, was, now, lines or ("only the ends of lines differ",))


def _leaves(value: Any, key: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [leaf for name, inner in value.items() for leaf in _leaves(inner, f"{key}.{name}" if key else str(name))]
    if isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(one, Mapping | list) for one in value):
        return [leaf for number, inner in enumerate(value) for leaf in _leaves(inner, f"{key}[{number}]")]
    return [(key, repr(value))]
