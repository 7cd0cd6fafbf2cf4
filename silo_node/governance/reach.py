"""What a plan's own program openly reaches for that a network has no use for. Who wants to hide it from this can."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from protocol.plan.code import Code

_TOLD = 20  # names in one warning
_USUAL = frozenset(("__future__", "abc", "collections", "dataclasses", "enum", "functools", "itertools", "math", "typing"))
_USUAL |= {"monai", "numpy", "operator", "torch", "warnings"}
_POWERFUL = frozenset(("__builtins__", "__import__", "compile", "eval", "exec", "globals", "locals", "open", "vars"))
_CLOCKS = frozenset(("benchmark", "clock", "datetime64", "getpid", "gettid", "monotonic", "perf_counter", "profiler", "uuid1"))


def reach(code: Code) -> list[str]:
    """Warnings in plain words: imports, functions, and ways to ask for the time, which 64-bit ARM takes from no program."""
    try:
        nodes = list(ast.walk(ast.parse(code.source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ["It is no Python that this release can read."]
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {"." * node.level + (node.module or "") for node in nodes if isinstance(node, ast.ImportFrom)}
    strange = sorted(name for name in imported if name.partition(".")[0] not in _USUAL)
    used = sorted({node.id for node in nodes if isinstance(node, ast.Name) and node.id in _POWERFUL})
    lines = [f"It imports what networks seldom need: {_plain(strange)}."] if strange else []
    asked = sorted({name for name in _named(nodes, imported) if name in _CLOCKS or name in ("time", "datetime")})
    lines += [f"It uses what networks seldom need: {', '.join(used)}."] if used else []
    return lines + ([f"It may ask what time it is, or which process it is: {', '.join(asked)}."] if asked else [])


def _plain(names: list[str]) -> str:
    """Letters outside ASCII as their codes: one that looks like another must not do so here."""
    return ", ".join(ascii(name)[1:-1] for name in names[:_TOLD]) + (
        f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    )


def _named(nodes: list[ast.AST], imported: set[str]) -> Iterator[str]:
    """Every attribute, name and part of an imported module's name."""
    yield from (part for name in imported for part in name.split("."))
    yield from (node.attr for node in nodes if isinstance(node, ast.Attribute))
    yield from (node.id for node in nodes if isinstance(node, ast.Name))
    yield from (alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names)
