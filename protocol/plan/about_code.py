"""The plan's own module in a few words, the same wherever it is spoken of: name, lines, digest, what it stands for."""

from __future__ import annotations

from protocol.plan.code import Code, named_in_code
from protocol.plan.model import Plan


def lines_of(source: str) -> list[str]:
    """The lines as Python counts them: a carriage return ends one too, and no other character that some viewers break at."""
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def about(code: Code) -> str:
    """`mine.py, 42 lines, sha256:0123456789ab`: enough of the digest to tell it from every other."""
    n_lines = len(lines_of(code.source))
    return f"{code.file}, {n_lines:,} line{'s' * (n_lines != 1)}, {code.sha256[:19]}"


def stands_for(plan: Plan) -> str:
    """What of fedward's the module replaces: the network, the loss, or both."""
    network, loss = named_in_code(plan.network.name), named_in_code(plan.training.loss.name)
    return "the network and the loss" if network and loss else "the network" if network else "the loss"
