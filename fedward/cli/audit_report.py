"""`fedward audit report`: a finished job's report again, as a page and a PDF, and what follows from it as an exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.report.conclusion import Reason
    from fedward.reports import Found

EPILOG = (
    "Exit codes: 0 pass, 1 a finding (a gap beyond its margin, a hospital worse off than alone), 2 insufficient evidence or a "
    "command that cannot be understood, 3 the evidence does not hold. docs/report.md says what each rests on."
)
_WORDS = {0: ("✓ pass", "green"), 1: ("✗ FINDING", "bold red"), 2: ("? insufficient", "yellow"), 3: ("✗ BROKEN", "bold red")}
_NOT_MEASURED = ("– not measured", "yellow")


def report(
    job: Annotated[Path, typer.Argument(metavar="JOB_OR_OUT", help="The folder a run left, a job's folder, or a report.json.")],
    pdf: Annotated[bool, typer.Option("--pdf", help=r"Write report.pdf too (extra fedward\[pdf]).")] = False,
    from_journal: Annotated[
        bool, typer.Option("--from-journal", help="Make report.json and evidence/ again from the job's journal.")
    ] = False,
    keys: Annotated[
        Path | None,
        typer.Option(help="Public keys to check evidence/ with.", show_default="JOB_OR_OUT/evidence/site-keys.json, if there"),
    ] = None,
    identity: Annotated[
        Path | None,
        typer.Option(
            help="With --from-journal in a consortium: the aggregator's identity.key, which signs evidence/ anew.",
            show_default="a key of the job's own",
        ),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object, last.")] = False,
) -> None:
    """Write a finished job's report again, and say what follows from it."""
    from evaluation.report.conclusion import conclude, exit_code
    from evaluation.report.write import write_page, write_pdf
    from fedward.reports import find

    found = find(job, from_journal=from_journal, identity=identity)
    written = [write_page(found.report, found.out)]
    if pdf:
        written.append(write_pdf(found.report, found.content, found.out))
    broken, unchecked, own_keys = _evidence(found, keys)
    reasons = conclude(found.report, broken, unchecked)
    _show(reasons, written, json_output=json_output, own_keys=own_keys)
    code = exit_code(reasons)
    if json_output:
        facts = {"job": found.report["job"], "exit_code": code, "own_keys": own_keys, "files": [str(path) for path in written]}
        typer.echo(
            json.dumps(facts | {"reasons": [{"code": one.code, "what": one.text} for one in reasons]}, ensure_ascii=False)
        )
    if code:
        raise typer.Exit(code)


def _evidence(found: Found, keys: Path | None) -> tuple[list[str] | None, str, bool]:
    """(failed checks or None, why nothing was checked, whether the keys come from the evidence itself)."""
    from fedward.reports import own_keys_of

    bundle = found.out / "evidence"
    if not bundle.is_dir():
        return None, "there is no evidence/ beside the report", False
    own = keys is None
    chosen = own_keys_of(found.out) if keys is None else keys
    if own and not chosen.is_file():
        return None, "no keys: give the hospitals' public keys with --keys", False
    from evaluation.report.arithmetic import other_arithmetic
    from evaluation.verify.run import verify
    from protocol.errors import InputError
    from protocol.evidence.keys import read_keys

    known = read_keys(chosen)
    try:
        findings = verify(bundle, known, found.out / "report.json")
    except InputError:
        if why := other_arithmetic(found.report):  # of a report that was signed, in evidence that else holds
            return None, why, own
        raise
    failed = [one for one in findings.found if one.state in ("broken", "missing")]
    return [_printable(f"{one.check}, {one.who or 'all'}: {one.what}") for one in failed], "", own


def _show(reasons: Sequence[Reason], written: Sequence[Path], *, json_output: bool, own_keys: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # The table goes to standard error where standard output is for JSON.
    console = Console(stderr=json_output, emoji=False, highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for reason in reasons:
        words, style = _WORDS[reason.code] if reason.measured else _NOT_MEASURED
        table.add_row(Text(words, style=style, end=""), Text(_printable(reason.text)))
    console.print(table)
    if own_keys:
        text = (
            "The keys lie in the evidence itself: whoever made it chose them. Give those you have by another way with --keys."
        )
        console.print(f"\n{text}", style="yellow", soft_wrap=True)
    console.print()
    for path in written:
        console.print(f"{path.suffix[1:]:<6} {path}", markup=False, soft_wrap=True)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
