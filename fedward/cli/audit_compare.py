"""`fedward audit compare`: what differs between two jobs, with intervals, and between their plans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

EPILOG = (
    "Exit codes: 0 compared, whatever differs; 2 or 7 a report cannot be read. docs/report.md says what the intervals hold."
)
_VERDICTS = {
    "higher": ("▲ B higher", "green"),
    "lower": ("▼ B lower", "bold red"),
    "no_clear_difference": ("= not clear", ""),
    "not_estimable": ("– not in both", "dim"),
    "refused": ("– refused: few apart", "yellow"),
}
_UNPAIR = (
    "To pair the two, run one of them with the other's model in its plan: `fedward weights add OUT/model.safetensors` at every "
    "hospital prints what evaluation.audit.compare_with names (same network, no privacy)."
)
_REFUSED = (
    "\nRefused: the jobs differ there by fewer cases than may be shown. Of a group: who came or left; of a rate: how many the "
    "two models call differently."
)
_SAME = {
    True: "Both tested on the same patients, yet no covariance is shared: the intervals are too long rather than too short.",
    False: "The two jobs share no cohort.",
    None: "Whether both tested on the same patients is not known; if so, the intervals are too long rather than too short.",
}


def compare(
    a: Annotated[Path, typer.Argument(help="The first job: the folder a run left, a job's folder, or a report.json.")],
    b: Annotated[Path, typer.Argument(help="The second job.")],
    json_output: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, last: all figures, rates of groups too.")
    ] = False,
) -> None:
    """Show where job B differs from job A: everyone, each hospital, each group; then the plans."""
    from evaluation.report.build import SCHEMA_VERSION
    from evaluation.report.compare import compare_reports
    from fedward.reports import find
    from protocol.errors import EvaluationError

    reports = [find(job).report for job in (a, b)]
    for path, report in zip((a, b), reports, strict=True):
        if report.get("schema_version") != SCHEMA_VERSION:
            version = report.get("schema_version")
            raise EvaluationError(f"{path}: schema_version is {version!r}; this release compares {SCHEMA_VERSION!r}.")
    try:
        found = compare_reports(*reports)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise EvaluationError(f"one of these is not a whole report: {type(error).__name__}: {error}.") from error
    _show(found, json_output=json_output)
    if json_output:
        typer.echo(json.dumps(found, ensure_ascii=False))


def _show(found: dict[str, Any], *, json_output: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(stderr=json_output, emoji=False, highlight=False)
    for name in ("a", "b"):
        console.print(Text(f"{name.upper()}  {found[name]['job']}  {found[name]['title']}"), soft_wrap=True)
    for line in _about(found):
        console.print(line, soft_wrap=True)
    console.print()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    several = len({row["class"] for row in found["figures"]}) > 1
    for column in ("group", "figure", "A", "B", "difference", ""):
        table.add_column(column, overflow="fold", no_wrap=column not in ("group", "figure", ""))
    for row in found["figures"]:
        if row["figure"] != "auroc" and row["attribute"] != "all":
            continue  # in --json
        words, style = _VERDICTS[row["verdict"]]
        words += ", paired" if row["method"] == "paired DeLong" else ""
        where = "everyone" if row["attribute"] == "all" else f"{row['attribute']} {row['value']}".removeprefix("site ")
        where = f"{row['class']}, {where}" if several else where
        figure = row["figure"].replace("_", " ") + ("" if row["threshold"] is None else f" from {row['threshold']:g}")
        cells = (where, figure, _value(row["a"]), _value(row["b"]))
        table.add_row(
            *(Text(_printable(cell)) for cell in cells), Text(_difference(row["difference"])), Text(words, style=style)
        )
    console.print(table)
    if any(row["verdict"] == "refused" for row in found["figures"]):
        console.print(_REFUSED, soft_wrap=True)
    for side in ("a", "b"):
        if found[f"only_in_{side}"]:
            console.print(Text(_printable(f"\nonly in {side.upper()}: {', '.join(found[f'only_in_{side}'])}")), soft_wrap=True)
    _show_settings(console, found)


def _about(found: dict[str, Any]) -> list[str]:
    """How the differences were made, and what would make them sharper."""
    if found["same_job"]:
        return ["\nA and B are the same job: nothing differs but by the report's age."]
    if (by := found["paired"]) is not None:
        one, other = by.upper(), {"a": "B", "b": "A"}[by]
        return [
            f"\nB minus A, 95% intervals. Rows marked paired: {one}'s audit scored {other}'s model on the same test images "
            f"(paired DeLong). The others: {found['method']}."
        ]
    return [f"\nB minus A, 95% intervals, {found['method']}. {_SAME[found['same_patients']]}", _UNPAIR]


def _show_settings(console: Console, found: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title="\nWhat was set differently", title_justify="left")
    for column in ("key", "A", "B"):
        table.add_column(column, overflow="fold")
    rows = [{"key": f"spent: {name}", **pair} for name, pair in found["privacy"].items() if pair["a"] != pair["b"]]
    for row in (*rows, *found["plan"]):
        table.add_row(
            Text(_printable(row["key"])),
            *(Text("not set" if row[side] is None else _printable(str(row[side]))) for side in ("a", "b")),
        )
    if table.row_count:
        console.print(table)
    else:
        console.print("\nThe plans are the same.")


def _value(one: dict[str, Any]) -> str:
    return "–" if one["value"] is None else f"{one['value']:.3f}"


def _difference(one: dict[str, Any]) -> str:
    return "–" if one["value"] is None else f"{one['value']:+.3f} ({one['lo']:+.3f} to {one['hi']:+.3f})"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
