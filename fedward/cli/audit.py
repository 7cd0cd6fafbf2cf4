"""`fedward audit`: what an auditor can try out without trusting anybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedward.cli import audit_compare, audit_report, audit_verify

if TYPE_CHECKING:
    from rich.console import Console

    from privacy.audit.report import AuditReport
    from privacy.audit.run import Tick
    from privacy.audit.subject import Subject

app: typer.Typer = typer.Typer(help="Check what a job left, and try out what a plan promises.", no_args_is_help=True)

_EPILOG = (
    "Exit codes: 0 no violation found (which does not prove that there is none), 8 a violation, or a plan without a mechanism; "
    "docs/audit.md says what the audit can and cannot show."
)


@app.callback()
def _root() -> None:
    """Check what a job left, and try out what a plan promises."""


app.command("verify", epilog=audit_verify.EPILOG)(audit_verify.verify)
app.command("report", epilog=audit_report.EPILOG)(audit_report.report)
app.command("compare", epilog=audit_compare.EPILOG)(audit_compare.compare)


@app.command(epilog=_EPILOG)
def privacy(
    plan: Annotated[Path, typer.Argument(help="The plan (YAML).")],
    canaries: Annotated[int, typer.Option(help="Canary patients of one run: more of them sharpen the bound.", min=100)] = 1000,
    repeat: Annotated[int, typer.Option(help="Runs, whose canaries are pooled.", min=1)] = 1,
    silos: Annotated[
        int | None,
        typer.Option(
            help="Mechanism distributed: hospitals of the federation; the plan's quorum, or 4, if left out.",
            min=3,
            max=50,
            show_default=False,
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the canaries' scores into this file (.png, .svg, .pdf).", show_default=False)
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object, last.")] = False,
) -> None:
    """Attack and test the code that clips, noises and samples, with the noise and steps of this plan."""
    from rich.console import Console

    from privacy.audit.run import audit
    from privacy.audit.subject import subject_of
    from protocol.errors import PrivacyError
    from protocol.plan import load_plan

    wanted = load_plan(plan)
    _check_ending(plot)
    try:
        subject = subject_of(wanted, silos)
    except PrivacyError as error:
        if json_output:
            typer.echo(json.dumps({"plan": wanted.name, "plan_digest": wanted.digest, "conclusion": str(error)}))
        raise
    # The table goes to standard error where standard output is for JSON.
    console = Console(stderr=json_output, emoji=False, highlight=False)
    _print_claim(console, wanted.name, subject)
    with _Bar() as tick:
        report = audit(subject, canaries, repeat, tick)
    _print_findings(console, report)
    if json_output:
        typer.echo(json.dumps({"plan": wanted.name, "plan_digest": wanted.digest, **report.as_json()}))
    try:
        if plot is not None:
            _draw(report, wanted.name, plot)
    finally:  # a picture that cannot be written must not hide a violation from who asks for the exit code
        if report.violations:
            raise PrivacyError("the audit found a violation, see above. Do not train with this; mend the code first.")


class _Bar:
    """A progress bar on standard error, where that is a terminal."""

    def __enter__(self) -> Tick:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True, emoji=False)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._bars.start()
        task = self._bars.add_task("", total=None)

        def tick(what: str, done: int, total: int) -> None:
            self._bars.update(task, description=what, completed=done, total=total)

        return tick

    def __exit__(self, *_: object) -> None:
        self._bars.stop()


def _print_claim(console: Console, name: str, subject: Subject) -> None:
    stream = subject.stream
    step = stream.step
    console.print(
        f"claim      epsilon {subject.epsilon:.3g} at delta {subject.delta:g} for each training patient of {name}",
        markup=False,
        soft_wrap=True,
    )
    console.print(
        f"mechanism  {stream.mechanism['name']}: {subject.steps} {stream.what}, noise_multiplier {step.noise_multiplier:g}, "
        f"sampling_rate {step.sampling_rate:g}, clip_norm {step.clip_norm:g}",
        soft_wrap=True,
    )
    if stream.detail:
        console.print(f"           {stream.detail}", soft_wrap=True)
    console.print(f"adversary  {stream.adversary}\n", soft_wrap=True)


def _print_findings(console: Console, report: AuditReport) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("test", "expected", "measured", "verdict"):
        table.add_column(column, overflow="fold")
    for finding in report.findings:
        verdict = Text("nothing found", style="dim") if finding.ok else Text("VIOLATION", style="bold red")
        table.add_row(Text(finding.name), Text(finding.expected), Text(finding.measured), verdict)
    console.print(table)
    console.print()
    for note in report.notes:
        console.print(note, style="yellow", markup=False, soft_wrap=True)
    style = "bold red" if report.violations else "bold"
    console.print(report.conclusion, style=style, markup=False, soft_wrap=True)


def _check_ending(plot: Path | None) -> None:
    """Before a minute of work, not after it."""
    from protocol.errors import InputError

    if plot is not None and plot.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"--plot: {plot} must end in .png, .svg or .pdf.")


def _draw(report: AuditReport, title: str, path: Path) -> None:
    from privacy.audit.plot import draw
    from protocol.errors import InputError

    try:
        draw(report, title, path)
    except OSError as error:
        raise InputError(f"--plot: cannot write {path}: {error.strerror or error}. Choose another file.") from error
