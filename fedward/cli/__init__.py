"""The command line: one sub-command per audience. Nothing heavy is imported until a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from fedward import __version__
from fedward.cli import aggregator, audit, cluster, consortium, demo, plan, researcher, run, silo, weights

_EPILOG = (
    "Exit codes: 0 done, 1 unexpected, 2 input, 3 store, 4 silo, 5 federation, 6 message, 7 evaluation, 8 privacy, "
    "130 stopped. "
    "--debug anywhere: tracebacks."
)

app = typer.Typer(
    name="fedward",
    help="Hospitals train one medical-imaging model together; no image leaves a hospital.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=_EPILOG,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fedward {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Hospitals train one medical-imaging model together; no image leaves a hospital."""


app.command("demo", rich_help_panel="Everyone")(demo.demo)
app.command("run", rich_help_panel="Researchers")(run.run)
app.command("desk", rich_help_panel="Researchers")(researcher.desk)
app.command("cohorts", rich_help_panel="Researchers")(researcher.cohorts)
app.command("submit", rich_help_panel="Researchers")(researcher.submit)
app.add_typer(plan.app, name="plan", rich_help_panel="Researchers")
app.add_typer(cluster.app, name="cluster", rich_help_panel="Everyone")
app.add_typer(weights.app, name="weights", rich_help_panel="Everyone")
app.add_typer(silo.app, name="silo", rich_help_panel="Hospitals")
app.add_typer(consortium.app, name="consortium", rich_help_panel="Coordinators")
app.add_typer(aggregator.app, name="aggregator", rich_help_panel="Coordinators")
app.add_typer(audit.app, name="audit", rich_help_panel="Auditors")
