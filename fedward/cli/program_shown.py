"""A plan's own program on the terminal: what to look at twice, every line with its number, and how it is approved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from protocol.plan import Plan
    from silo_node.governance.difference import Change


def print_program(console: Console, plan: Plan) -> None:
    """Nothing for a plan without one."""
    from rich.text import Text

    from protocol.plan.about_code import about, lines_of
    from silo_node.governance.program import read_program

    if plan.code is None:
        return
    program = read_program(plan.code)
    console.print(f"\n[bold]The program it brings[/] ({about(plan.code)})")
    for warning in program.warnings:
        console.print(Text(f"  Look twice: {warning}", "bold yellow"), soft_wrap=True)
    width = len(str(len(lines_of(plan.code.source))))
    for number, line in enumerate(program.lines, start=1):
        pieces = [(piece.text, "reverse bold yellow" if piece.name else "") for piece in line]
        console.print(Text.assemble((f"{number:>{width}}  ", "dim"), *pieces), soft_wrap=True)
    console.print(f"\nTo approve the plan, name the program: --code {plan.code.sha256[7:19]}", markup=False)


def print_change(console: Console, change: Change) -> None:
    """One key that differs, and of a program its lines."""
    from rich.text import Text

    from protocol.governance.shown import shown

    text = f"{change.key}: {change.before or 'not there'} -> {change.after or 'not there'}"
    console.print(f"  {shown(text)}", markup=False)
    for line in change.lines:
        style = {"+": "green", "-": "red"}.get(line[:1], "")
        console.print(Text(f"    {line}", style), soft_wrap=True)


def program_facts(plan: Plan) -> dict[str, Any] | None:
    """The program as JSON types; null for a plan without one."""
    from protocol.plan.about_code import lines_of, stands_for
    from silo_node.governance.program import read_program

    if plan.code is None:
        return None
    return {
        "file": plan.code.file,
        "sha256": plan.code.sha256,
        "lines": len(lines_of(plan.code.source)),
        "stands_for": stands_for(plan),
        "look_twice": list(read_program(plan.code).warnings),
        "source": plan.code.source,
    }
