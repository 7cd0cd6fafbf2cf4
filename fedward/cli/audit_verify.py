"""`fedward audit verify`: check a job's evidence, offline and without believing whoever ran it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.verify.findings import Findings

EPILOG = (
    "Exit codes: 0 everything holds (what could not be checked is named), 3 something is broken or missing, 2 a file cannot be "
    "read or another release made the report's figures. docs/evidence.md says what this proves and what not."
)
_INTEGRITY = 3


def verify(
    bundle: Annotated[Path, typer.Argument(help="The folder `evidence` that a job left.")],
    keys: Annotated[
        Path,
        typer.Option(help="Public keys of the hospitals and the aggregator: site-keys.json, or the consortium's roster.json."),
    ],
    report: Annotated[
        Path | None,
        typer.Option(help="The job's report.json.", show_default="the one beside BUNDLE, if there is one"),
    ] = None,
    decisions: Annotated[
        list[str] | None,
        typer.Option(
            help="SITE=FILE, once per hospital: decisions.jsonl of its data officers, where it gave you one; then the approval "
            "that its receipts name is made again.",
            show_default=False,
        ),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object, last.")] = False,
) -> None:
    """Check a job's evidence: who signed what, whether anything is missing, and every figure of the report."""
    from evaluation.verify.run import verify as run
    from protocol.errors import InputError
    from protocol.evidence.keys import read_keys

    beside = bundle.absolute().parent / "report.json"
    wanted = report if report is not None else beside if beside.is_file() else None
    if wanted is not None and not wanted.is_file():
        raise InputError(f"--report: {wanted} is no file; name the job's report.json.")
    findings = run(bundle, read_keys(keys), wanted, _decisions(decisions or ()))
    own = keys.absolute().is_relative_to(bundle.absolute())
    _show(findings, json_output=json_output, own_keys=own)
    if json_output:
        facts = [{"state": one.state, "check": one.check, "who": one.who, "what": one.what} for one in findings.found]
        typer.echo(json.dumps({"bundle": str(bundle), "sound": findings.sound, "own_keys": own, "findings": facts}))
    if not findings.sound:
        raise typer.Exit(_INTEGRITY)


def _decisions(given: Sequence[str]) -> dict[str, bytes]:
    from protocol.errors import InputError

    found: dict[str, bytes] = {}
    for one in given:
        site, _, path = one.partition("=")
        if not path or site in found or not Path(path).is_file():
            raise InputError(f"--decisions {one}: write SITE=FILE, each hospital once, FILE its decisions.jsonl.")
        found[site] = Path(path).read_bytes()
    return found


def _show(findings: Findings, *, json_output: bool, own_keys: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    words = {
        "ok": Text("✓ holds", style="green"),
        "broken": Text("✗ BROKEN", style="bold red"),
        "missing": Text("✗ MISSING", style="bold red"),
        "unchecked": Text("– not checked", style="yellow"),
    }
    # The table goes to standard error where standard output is for JSON.
    console = Console(stderr=json_output, emoji=False, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("result", "check", "where", "what"):
        table.add_column(column, overflow="fold", no_wrap=column != "what")
    for one in findings.found:
        table.add_row(words[one.state], one.check, Text(one.who), Text(_printable(one.what)))
    console.print(table)
    console.print()
    if own_keys:
        text = "The keys lie in the bundle itself: whoever made the bundle chose them. Have the hospitals' keys by another way."
        console.print(text, style="yellow", soft_wrap=True)
    bad = [one for one in findings.found if one.state in ("broken", "missing")]
    if bad:
        whose = ", ".join(sorted({one.who for one in bad if one.who})) or "the bundle"
        console.print(
            f"This evidence does not hold: {len(bad)} findings, at {_printable(whose)}.", style="bold red", soft_wrap=True
        )
    else:
        text = "This evidence holds. A hospital's honesty about its own data no signature can show."
        console.print(text, style="bold green", soft_wrap=True)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
