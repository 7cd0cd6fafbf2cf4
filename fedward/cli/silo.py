"""`fedward silo`: what hospital IT and the data officer run. Exit codes are those of protocol.errors."""

from __future__ import annotations

import dataclasses
import json
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedward.cli import silo_governance, silo_review
from fedward.cli.budget import budget
from fedward.cli.silo_join import join
from fedward.cli.silo_serve import preflight, serve
from fedward.cli.silo_tidy import tidy

if TYPE_CHECKING:
    from rich.console import Console

    from silo_node.intake import ImportSummary

app = typer.Typer(
    help="Inside the hospital: import images, look at the cohort, join a consortium, serve it.", no_args_is_help=True
)


class Values(StrEnum):
    """What the store keeps of each pixel."""

    display = "display"
    modality = "modality"


JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on the last line.")]


@app.callback()
def silo() -> None:
    """Inside the hospital: import images, look at the cohort, join a consortium, serve it."""


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(readable=False, help="Folder of DICOM, PNG, JPEG or TIFF files; it is only read.")],
    labels: Annotated[
        Path, typer.Option(readable=False, help="CSV: a key column (SOPInstanceUID, file, ...) and label columns.")
    ],
    store: Annotated[Path, typer.Option(readable=False, help="Folder to make; must not exist. Run again to resume.")],
    key: Annotated[
        Path | None,
        typer.Option(readable=False, help="Pseudonym key; made, and said so, if absent. Back it up apart from the store."),
    ] = None,
    values: Annotated[
        Values, typer.Option(help="display: as a viewer shows it, 0..1. modality: physical units (HU for CT).")
    ] = Values.display,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Decoder processes; 0 chooses.")] = 0,
    json_: JsonOption = False,
) -> None:
    """Import a folder of images with their labels into a cohort store. Every file ends as a sample or as a reason."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from silo_node.intake import import_folder

    console = _console(stderr=True)
    columns = (TextColumn("Importing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console)
    bar = progress.add_task("files", total=None)
    with ExitStack() as screen:

        def on_progress(done: int, total: int) -> None:
            if not progress.live.is_started:  # before the first file is done there may still be an error to show
                screen.enter_context(progress)
            progress.update(bar, completed=done, total=total)

        summary = import_folder(
            source,
            labels,
            store,
            key=key,
            values=values.value,
            workers=workers,
            on_progress=on_progress,
            on_notice=lambda sentence: console.print(sentence, markup=False, highlight=False, soft_wrap=True),
        )
    _print_summary(summary, console if json_ else _console())
    if json_:
        typer.echo(json.dumps(dataclasses.asdict(summary), default=str))


@app.command("show")
def show(
    what: Annotated[str, typer.Argument(help="A cohort store's folder, or a plan that was handed over (name or digest).")],
    verify: Annotated[bool, typer.Option(help="A store: read every byte and compare its digest.")] = True,
    config: silo_governance.ConfigOption = silo_governance.CONFIG,
    json_: JsonOption = False,
) -> None:
    """Print the data card of a cohort store, or a plan in plain words: what it does here, what leaves, what it costs."""
    if not Path(what).exists() and config.exists():
        silo_governance.show(what, config, json_)
        return
    from silo_node.cohort import CohortStore

    opened = CohortStore.open(Path(what), verify=verify)
    if json_:
        typer.echo(json.dumps({"store": what, "digest": opened.digest, "card": opened.card}))
    else:
        _print_card(opened.name, opened.digest, opened.card, _console())


@app.command("policy")
def policy(
    path: Annotated[
        Path | None, typer.Argument(help="File to write, STORE.policy.yaml beside the store; printed if left out.")
    ] = None,
) -> None:
    """Write the hospital's own policy, commented: what it allows. The values written are those that hold without a file."""
    from fedward.cli.new_file import write_new
    from protocol.plan.template import commented
    from silo_node.policy import Policy

    text = "\n".join(["# What this hospital allows to be done with the cohort beside this file.", *commented(Policy())]) + "\n"
    if path is None:
        typer.echo(text, nl=False)
        return
    write_new(path, text)
    typer.echo(f"wrote {path}; edit it. It holds for the next job of the store beside it whose name it has.")


app.command("budget")(budget)
app.command("join")(join)
app.command("preflight")(preflight)
app.command("serve")(serve)
app.command("tidy")(tidy)
app.command("officer")(silo_governance.officer)
app.command("requests")(silo_governance.requests)
app.command("approve")(silo_governance.approve)
app.command("reject")(silo_governance.reject)
app.command("withdraw")(silo_governance.withdraw)
app.command("publish")(silo_review.publish)
app.command("review")(silo_review.review)


def _console(*, stderr: bool = False) -> Console:
    """Texts of a hospital are shown as they are: no `:100:` becomes a picture."""
    from rich.console import Console

    return Console(stderr=stderr, emoji=False)


def _print_summary(summary: ImportSummary, console: Console) -> None:
    from rich.table import Table

    from silo_node.intake.reasons import REASONS

    table = Table(title="What became of the files", title_justify="left")
    for heading in ("files", "outcome", "why", "what to do"):
        table.add_column(heading, justify="right" if heading == "files" else "left")
    table.add_row(str(summary.n_files - sum(summary.rejected.values())), "imported", "", "")
    for value, files in summary.rejected.items():
        table.add_row(str(files), value, REASONS[value].sentence, REASONS[value].hint)
    console.print(table)
    console.print(f"{summary.n_samples} samples of {summary.n_patients} patients from {summary.n_files} files.")
    if summary.labels_without_file:
        lines = f"{summary.labels_without_file} line{'s' if summary.labels_without_file > 1 else ''}"
        console.print(f"{lines} of the labels found no file; the rejections list them (line_without_file).")
    for name, path in (("Store", summary.store), ("Data card", summary.card), ("Rejections", summary.report)):
        console.print(f"{name:<10} {path}", soft_wrap=True, highlight=False, markup=False)
    console.print("The rejection report names files: it stays inside the hospital.")


def _print_card(name: str, digest: str, card: dict[str, Any], console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("what", "value", "count", title=f"Cohort {escape(name)}", title_justify="left", caption=escape(digest))
    for key, entry in card.items():
        if key in ("audience", "warnings", "labels"):
            continue
        if isinstance(entry, dict):
            for row, (value, count) in enumerate(entry.items()):
                table.add_row(escape(_words(key)) if row == 0 else "", escape(str(value)), _inline(count))
        else:
            table.add_row(escape(_words(key)), escape(str(entry)), "")
    for label, summary in card["labels"].items():
        counts = summary.get("counts") or {key: value for key, value in summary.items() if key != "missing"}
        rows = counts | ({"missing": summary["missing"]} if summary["missing"] else {})
        for row, (value, count) in enumerate(rows.items()):
            table.add_row(escape(f"label {label}") if row == 0 else "", escape(str(value)), escape(str(count)))
    console.print(table)
    for warning in card["warnings"]:
        console.print(f"[yellow]Note:[/] {escape(warning)}")
    console.print(f"({card['audience']})", style="dim", markup=False)


def _words(key: str) -> str:
    return key.removeprefix("n_").replace("_", " ")


def _inline(count: object) -> str:
    return ", ".join(f"{value} {name}" for name, value in count.items()) if isinstance(count, dict) else str(count)
