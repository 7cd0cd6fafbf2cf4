"""What an officer reads of a plan's program is what would run: nothing hidden, nothing in disguise, no line miscounted."""

from __future__ import annotations

import ast
import time

import pytest

from privacy.guarantee import guarantee_of
from protocol.canonical import digest_bytes
from protocol.errors import PlanError
from protocol.plan import Plan, parse_plan, plan_template
from protocol.plan.about_code import about, stands_for
from protocol.plan.code import Code
from silo_node.governance.difference import difference
from silo_node.governance.program import Program, read_program
from silo_node.governance.words import plain_words

MODULE = """\
import torch
from torch import nn


class Small(nn.Module):
    # größer wäre besser
    name = "Müller"
"""


def code(source: str) -> Code:
    return Code.model_construct(file="mine.py", sha256=digest_bytes(source.encode()), source=source)


def coded_plan(source: str = MODULE, *, private: bool = True, loss: str = "cross_entropy") -> Plan:
    value = parse_plan(plan_template()).to_json()
    value["code"] = {"file": "mine.py", "sha256": digest_bytes(source.encode()), "source": source}
    value["network"] = {"name": "code.Small", "args": {}}
    value["training"]["loss"]["name"] = loss
    if not private:
        value["privacy"] = {"mechanism": "none", "secure_aggregation": True}
        value["evaluation"]["audit"] = None
    return Plan.model_validate(value, strict=False)


def text(program: Program) -> list[str]:
    return ["".join(piece.text for piece in line) for line in program.lines]


def test_every_line_is_shown_as_it_is_and_words_may_be_in_any_language() -> None:
    program = read_program(code(MODULE))
    assert text(program) == MODULE.splitlines()
    assert program.warnings == ()


@pytest.mark.parametrize(
    "trick",
    [
        "\u202e",  # right-to-left override: the attack of CVE-2021-42574
        "\u2066",  # isolate
        "\u200b",  # zero width
        "\u3164",  # a letter that is drawn as nothing
        "\u05d0",  # Hebrew: turns its neighbours around without any control character
        "\u0301",  # drawn over its neighbour
        "\xa0",
        "\x0c",
        "\x1b",
        "\ufe0f",
        "\U000e0041",
    ],
)
@pytest.mark.parametrize("line", ["x = 1  # {}", 's = "{}"', "x{} = 1"])
def test_what_an_eye_would_miss_is_shown_by_its_code_wherever_it_stands(trick: str, line: str) -> None:
    program = read_program(code("import torch\n" + line.format(trick) + "\n"))
    assert text(program)[1] == line.format(f"[U+{ord(trick):04X}]")
    assert any("line 2" in one and f"U+{ord(trick):04X}" in one for one in program.warnings)


@pytest.mark.parametrize("line", ["\u0435xec(1)", 'x = f"{\u0435xec}"', "x.\uff45xec = 1"])
def test_a_name_that_looks_like_another_is_shown_by_its_codes(line: str) -> None:
    program = read_program(code(line + "\n"))
    assert all(letter.isascii() for letter in text(program)[0])
    assert any("pass for other letters" in one for one in program.warnings)


def test_lines_are_counted_as_python_counts_them() -> None:
    """A carriage return in a comment ends it, and a line separator does not: neither may hide what runs."""
    source = "x = 1  # harmless\rhidden = 2\ny = 3  # one\u2028line\x85only\x0b\n"
    program = read_program(code(source))
    assert len(program.lines) == 3
    (found,) = [node for node in ast.parse(source).body if isinstance(node, ast.Assign) and node.targets[0].id == "hidden"]  # type: ignore[attr-defined]
    assert text(program)[found.lineno - 1] == "hidden = 2"
    assert any("carriage returns" in one for one in program.warnings)


def test_what_a_network_has_no_use_for_is_named() -> None:
    source = "import os.path\nfrom ctypes import CDLL\nimport torch\n\ndef f():\n    import socket\n    eval('1')\n"
    imports, used = read_program(code(source)).warnings
    assert "ctypes, os.path, socket" in imports
    assert "torch" not in imports
    assert "eval" in used
    (disguised,) = [one for one in read_program(code("import m\u0430th\n")).warnings if "imports" in one]
    assert "m\\u0430th" in disguised


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "from os import getpid",
        "import torch.utils.benchmark",
        "import numpy\nx = numpy.datetime64('now')",
        "from datetime import datetime",
        "import torch\nwith torch.profiler.profile(): pass",
    ],
)
def test_a_program_that_openly_asks_for_the_time_or_its_number_is_named(line: str) -> None:
    """Under differential privacy that alone is worth looking for: the walls cannot take it from a program."""
    assert any("what time it is" in one for one in read_program(code(line + "\n")).warnings)
    assert read_program(code("import torch\nx = torch.zeros(1)\n")).warnings == ()


def test_a_long_line_is_named_so_that_nobody_misses_its_end() -> None:
    assert any("line 2" in one for one in read_program(code("a = 1\nb = 2" + " " * 200 + "; c = 3\n")).warnings)


@pytest.mark.parametrize("source", ["é\n" * 30_000, "'é'" * 30_000, '"""' + "\n" * 99_000 + '"""', "\u200b" * 100_000])
def test_no_program_keeps_an_officer_waiting(source: str) -> None:
    began = time.perf_counter()
    program = read_program(code(source))
    assert time.perf_counter() - began < 20.0
    assert sum(map(len, program.warnings)) < 20_000


def test_the_officer_is_told_what_the_program_is_and_what_it_can_do() -> None:
    private, open_ = plain_words(coded_plan()), plain_words(coded_plan(private=False))
    brings, can = ({line.question: line for line in private}[one] for one in _QUESTIONS)
    assert brings.loud
    assert about(coded_plan().code or code("")) in brings.answer
    assert "stands for the network." in brings.answer
    assert f"at most epsilon {guarantee_of(coded_plan()).epsilon:.3g}, whatever" in can.answer
    assert not can.loud
    exact = {line.question: line for line in open_}[_QUESTIONS[1]]
    assert exact.loud
    assert "could carry images out" in exact.answer
    assert not {line.question for line in plain_words(parse_plan(plan_template()))} & set(_QUESTIONS)


_QUESTIONS = ("Does it bring a program of its own?", "What can that program do?")


def test_what_the_program_stands_for_is_said() -> None:
    both = coded_plan(MODULE + "def focal(logits, labels):\n    pass\n", loss="code.focal")
    assert (stands_for(coded_plan()), stands_for(both)) == ("the network", "the network and the loss")
    with pytest.raises(PlanError):
        parse_plan(plan_template().replace("name: Classifier", "name: code.Small", 1))


def test_a_changed_program_is_compared_line_by_line_not_as_one_text() -> None:
    changed = MODULE.replace("import torch\n", "import torch\nimport os\n")
    found = {one.key: one for one in difference(coded_plan(), coded_plan(changed))}
    assert found.keys() == {"code.sha256", "code.source"}
    source = found["code.source"]
    assert (source.before, source.after) == ("7 lines", "8 lines")
    assert [line for line in source.lines if line.startswith("+") and "now" not in line] == ["+import os"]


def test_a_difference_hides_nothing_either() -> None:
    """Not even where the text that stands for a character was in the approved program letter by letter."""
    before, after = MODULE + "# [U+202E]\n", MODULE + "# \u202e\n"
    (source,) = [one for one in difference(coded_plan(before), coded_plan(after)) if one.key == "code.source"]
    assert "+# [U+202E]" in source.lines
    assert "-# [U+202E]" in source.lines
    (ends,) = [one for one in difference(coded_plan(), coded_plan(MODULE.replace("\n", "\r\n"))) if one.key == "code.source"]
    assert ends.lines == ("only the ends of lines differ",)


def test_a_program_that_is_new_or_gone_is_said_without_its_text() -> None:
    plain = parse_plan(plan_template())
    new = {one.key: one for one in difference(plain, coded_plan())}["code.source"]
    gone = {one.key: one for one in difference(coded_plan(), plain)}["code.source"]
    assert (new.before, new.after, new.lines) == (None, "7 lines", ())
    assert (gone.before, gone.after) == ("7 lines", None)
