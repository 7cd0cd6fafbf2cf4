"""What a report says of a plan that brought a program of its own. Takes the plan as report.json holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.governance.shown import shown
from protocol.plan.about_code import lines_of
from protocol.plan.code import named_in_code

_Plan = Mapping[str, Any]


def own_code(plan: _Plan) -> str | None:
    """One sentence: name, digest and lines of the program, and what it stood for; None where there was none."""
    code = plan.get("code")
    if not code:
        return None
    parts = (("network", plan["network"]["name"]), ("loss", plan["training"]["loss"]["name"]))
    stood = " and the ".join(part for part, name in parts if named_in_code(name))
    n_lines = len(lines_of(code["source"]))
    private = (plan.get("privacy") or {}).get("mechanism", "none") != "none"
    holds = " Epsilon holds whatever it computes, as far as the machine keeps its processes apart." if private else ""
    return (
        f"The plan brought a program of its own for the {stood}: {code['file']}, {n_lines:,} line{'s' * (n_lines != 1)}, "
        f"{code['sha256']}. It ran apart, without network, files and keys; its whole text is part of the plan.{holds}"
    )


def without_source(plan: _Plan) -> dict[str, Any]:
    """`plan` with the program's digest and number of lines in place of its text."""
    code = plan.get("code")
    if not code:
        return dict(plan)
    return {**plan, "code": {**code, "source": f"{len(lines_of(code['source'])):,} lines"}}


def plan_view(plan: _Plan) -> dict[str, Any]:
    """`plan` as people read it: the program line by line, with what cannot be seen made visible."""
    code = plan.get("code")
    if not code:
        return dict(plan)
    return {**plan, "code": {**code, "source": [shown(line) for line in lines_of(code["source"])]}}
