"""`fedward run`: a federation on this machine, over real cohort stores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from protocol.plan.code import Code


def run(
    plan: Annotated[Path, typer.Argument(help="The plan (YAML). `fedward plan new` writes an example.")],
    silo: Annotated[
        list[str] | None, typer.Option("--silo", help="NAME=STORE, once per hospital: its cohort store.", metavar="NAME=STORE")
    ] = None,
    mock: Annotated[
        bool, typer.Option("--mock", help="Instead of --silo: try it on the mocks that hospitals publish (`fedward cohorts`).")
    ] = False,
    desk: Annotated[Path, typer.Option("--desk", envvar="FEDWARD_DESK", help="With --mock: your desk.")] = Path("fedward-desk"),
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the job, model, report and MLflow store.", show_default="<plan name>-run"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the job in --out where it stopped.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print report.json as one line, last.")] = False,
    tracking_uri: Annotated[
        str,
        typer.Option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="MLflow to log to.", show_default="sqlite in --out"),
    ] = "",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    threads: Annotated[int, typer.Option("--threads", min=0, help="CPU threads; 0: one per core, at most 8 (private: 1).")] = 0,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            help="Policy file for every hospital. `fedward silo policy` writes one.",
            show_default="STORE.policy.yaml beside each store",
        ),
    ] = None,
    ledgers: Annotated[
        Path | None,
        typer.Option("--ledgers", help="Folder of the cohorts' privacy ledgers.", show_default="beside each store"),
    ] = None,
    accept_no_dp: Annotated[
        bool,
        typer.Option("--accept-no-dp", help="Run a plan without differential privacy: nothing then protects a patient."),
    ] = False,
    accept_code: Annotated[
        bool, typer.Option("--accept-code", help="Run a plan that brings a program of its own: read the program first.")
    ] = False,
) -> None:
    """Run a federation over real cohort stores on this machine; killed at any instant, --resume continues it."""
    from fedward.cli.silos import parse_silos
    from fedward.federation import run_federation
    from fedward.hospitals import ledgers_beside
    from fedward.progress import Progress, print_result
    from fedward.settings import Settings
    from protocol.errors import InputError
    from protocol.plan import load_plan

    wanted = load_plan(plan)
    where = out or Path(f"{wanted.name}-{'mock' if mock else 'run'}")
    if mock:
        from fedward.mocks import mock_settings, mock_stores

        if silo:
            raise InputError("--mock runs on the hospitals' mocks; leave --silo out.")
        stores = mock_stores(desk, where, resume=resume)
        settings = mock_settings(where, resume=resume, tracking_uri=tracking_uri, device=device, threads=threads)
        typer.echo("Mocks: invented patients. The figures say whether the plan runs, and nothing about its use.", err=True)
    else:
        stores = parse_silos(silo or [])
        settings = Settings(
            where, resume, tracking_uri, device, threads, policy, accept_no_dp, ledgers, accept_code=accept_code
        )
    if ledgers is not None and (beside := ledgers_beside(stores)):
        typer.echo(f"--ledgers: this run is charged there, not to {', '.join(beside)} beside the stores.", err=True)
    if wanted.privacy.mechanism == "none" and accept_no_dp and not mock:
        _warn_no_privacy(masked=wanted.privacy.secure_aggregation)
    if wanted.code is not None and (accept_code or mock):
        _warn_code(wanted.code, private=wanted.privacy.mechanism != "none", mock=mock)
    with Progress() as progress:
        result = run_federation(wanted, stores, settings, progress)
    print_result(result)
    if json_output:
        typer.echo(json.dumps(result.report, ensure_ascii=False))


def _warn_no_privacy(*, masked: bool) -> None:
    from rich.console import Console
    from rich.panel import Panel

    reads = (
        "Secure aggregation hides single updates, but what the sums give away over many rounds has no bound"
        if masked
        else "Whoever runs the aggregator can read each update and rebuild training images from it in part"
    )
    text = (
        f"This plan has no differential privacy: epsilon is infinite. {reads}; the finished model may reveal any single "
        "patient. Only for data that need no protection."
    )
    Console(stderr=True, emoji=False).print(Panel(text, title="--accept-no-dp", border_style="bold red", style="red"))


def _warn_code(code: Code, *, private: bool, mock: bool) -> None:
    from rich.console import Console
    from rich.panel import Panel

    from protocol.plan.about_code import about

    may = (
        "Under differential privacy it tells no more of a patient than epsilon says, whatever it computes."
        if private
        else "Without differential privacy what it computes from the images leaves in the updates, in whatever disguise."
    )
    text = f"This plan runs a program: {about(code)}. It runs apart, without network, files and keys. {may}"
    style = "yellow" if private or mock else "red"
    title = "a plan with code" if mock else "--accept-code"
    Console(stderr=True, emoji=False).print(Panel(text, title=title, border_style=f"bold {style}", style=style))
