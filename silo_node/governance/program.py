"""A plan's own module as an officer reads it: every line with its number, and nothing in it that an eye would miss.

What is read must be what runs (CVE-2021-42574, "Trojan Source"): characters that cannot be seen, that change the order in which
a line is read, or that look like other letters are shown by their code. Nothing of the module is run here.
"""

from __future__ import annotations

import io
import tokenize
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from protocol.errors import ApprovalError
from protocol.plan import Plan
from protocol.plan.about_code import lines_of
from protocol.plan.code import Code
from silo_node.governance.reach import reach

_LONG = 160
_SHORTEST = 12  # hexadecimal digits of a digest that an officer types
_TOLD = 20  # lines named in one warning
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # letters and marks that are drawn as nothing
_BACKWARDS = frozenset(("R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI", "PDF", "PDI"))


@dataclass(frozen=True)
class Piece:
    """Part of a line. `name`: what the character is called that is shown by its code; "" for plain text."""

    text: str
    name: str = ""


@dataclass(frozen=True)
class Program:
    """A module, line by line. `warnings` say what deserves a second look, in plain words."""

    lines: tuple[tuple[Piece, ...], ...]
    warnings: tuple[str, ...]


def require_read(plan: Plan, code: str) -> None:
    """Raises ApprovalError unless `code` is the digest of the program that `plan` brings, or its first twelve digits or more.

    Nobody approves a program by approving a plan: its digest stands beside its text, and nowhere in this error.
    """
    said = code.strip().removeprefix("sha256:")
    if plan.code is None:
        if said:
            raise ApprovalError("the plan brings no program, and one was approved with it; look at it again.")
    elif len(said) < _SHORTEST or not plan.code.sha256.removeprefix("sha256:").startswith(said):
        raise ApprovalError(
            f"the plan brings a program ({plan.code.file}), and the digest of the program that was read is "
            f"{'not its own' if said else 'missing'}. Read it with `fedward silo show`, which names the digest for "
            "`fedward silo approve --code`, or in `fedward silo review`, and tick there that you did."
        )


def read_program(code: Code) -> Program:
    """The module's lines, numbered from 1 as Python counts them, and what to look at twice."""
    lines = lines_of(code.source)
    spoken = _spoken(lines)
    shown, hidden, alike = [], dict[int, list[str]](), dict[int, list[str]]()
    for number, line in enumerate(lines, start=1):
        pieces = _pieces(line, spoken.get(number, frozenset()), hidden.setdefault(number, []), alike.setdefault(number, []))
        shown.append(tuple(pieces))
    warnings = [
        *_told("cannot be seen, or change the order in which a line is read, and are shown by their code", hidden),
        *_told("stand in names, where they can pass for other letters, and are shown by their code", alike),
        *_returns(code.source),
        *_long(lines),
        *reach(code),
    ]
    return Program(tuple(shown), tuple(warnings))


def escaped(line: str) -> str:
    """`line` with every character shown by its code that is not plain ASCII."""
    return "".join(one if one.isascii() and not _unseen(one) else f"[U+{ord(one):04X}]" for one in line)


def _pieces(line: str, spoken: frozenset[int], hidden: list[str], alike: list[str]) -> Iterator[Piece]:
    """`line` in pieces, where columns `spoken` hold words; names of what is shown by its code go to `hidden` or `alike`."""
    plain = ""
    for column, one in enumerate(line):
        unseen = _unseen(one)
        if not unseen and (one.isascii() or column in spoken):
            plain += one
            continue
        if plain:
            yield Piece(plain)
            plain = ""
        name = unicodedata.name(one, "without a name")
        (hidden if unseen else alike).append(f"U+{ord(one):04X} {name}")
        yield Piece(f"[U+{ord(one):04X}]", name)
    if plain:
        yield Piece(plain)


def _unseen(one: str) -> bool:
    """Whether `one` is drawn as nothing, over its neighbours, or moves them."""
    if one == "\t" or " " <= one <= "~":
        return False
    kind = unicodedata.category(one)
    return kind[0] in "CM" or kind in ("Zl", "Zp", "Zs") or one in _BLANK or unicodedata.bidirectional(one) in _BACKWARDS


def _spoken(lines: list[str]) -> dict[int, frozenset[int]]:
    """By line, the columns of comments and plain strings: words for people, in which any script may be written.

    Empty if the lines are no whole Python; then every letter counts as code.
    """
    found: dict[int, set[int]] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n", newline="\n").readline):
            if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and not _formatted(token.string)):
                (first, start), (last, end) = token.start, token.end
                for number in range(first, last + 1):
                    columns = range(start if number == first else 0, end if number == last else len(lines[number - 1]))
                    found.setdefault(number, set()).update(columns)
    except (tokenize.TokenError, SyntaxError, IndexError):
        return {}
    return {number: frozenset(columns) for number, columns in found.items()}


def _formatted(string: str) -> bool:
    """Whether a string is an f-string: what stands in its braces is code."""
    return "f" in string[: string.find(string[-1])].lower()


def _told(what: str, found: dict[int, list[str]]) -> list[str]:
    lines = {number: list(dict.fromkeys(names)) for number, names in found.items() if names}
    if not lines:
        return []
    told = "; ".join(f"line {number}: {', '.join(names[:4])}" for number, names in list(lines.items())[:_TOLD])
    more = f"; and {len(lines) - _TOLD} more lines" if len(lines) > _TOLD else ""
    return [f"Characters that {what}: {told}{more}."]


def _returns(source: str) -> list[str]:
    if "\r" not in source.replace("\r\n", "\n"):
        return []
    return ["It has carriage returns in the middle of what some editors show as one line. Here each begins a new one."]


def _long(lines: list[str]) -> list[str]:
    numbers = [number for number, line in enumerate(lines, start=1) if len(line) > _LONG]
    if not numbers:
        return []
    told = ", ".join(map(str, numbers[:_TOLD])) + (f" and {len(numbers) - _TOLD} more" if len(numbers) > _TOLD else "")
    return [f"Longer than {_LONG} characters, so that an editor may hide the end of it: line {told}."]
