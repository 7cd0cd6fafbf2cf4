"""`fedward cluster`: a whole consortium on this machine, to try it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fedward.cluster.layout import Hospital

app = typer.Typer(
    help="A whole consortium on this machine: broker, aggregator, silos, with TLS on loopback.", no_args_is_help=True
)


@app.callback()
def cluster() -> None:
    """A whole consortium on this machine: broker, aggregator, silos, with TLS on loopback."""


@app.command()
def up(
    silo: Annotated[
        list[str] | None, typer.Option("--silo", help="NAME=STORE, once per hospital: its cohort store.", metavar="NAME=STORE")
    ] = None,
    silos: Annotated[int, typer.Option("--silos", min=3, max=4, help="Without --silo: so many phantom hospitals.")] = 3,
    run: Annotated[Path | None, typer.Option("--run", help="Run this plan, then stop everything.", show_default=False)] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for everything.")] = Path("cluster"),
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="Policy for every hospital.", show_default="STORE.policy.yaml beside each store"),
    ] = None,
    broker: Annotated[
        Path | None, typer.Option("--broker", help="nats-server to use.", show_default="this environment's, or PATH's")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    threads: Annotated[int, typer.Option("--threads", min=0, help="CPU threads of each silo; 0: all.")] = 1,
    json_output: Annotated[bool, typer.Option("--json", help="Print report.json as one line, last.")] = False,
) -> None:
    """Start a consortium of real processes with TLS and permissions; run a plan, or wait for Ctrl-C; stop cleanly."""
    from rich.console import Console
    from rich.live import Live

    from fedward.cluster.processes import Processes
    from fedward.cluster.up import ClusterSettings, run_plan, start
    from fedward.progress import print_result
    from fedward.status import draw
    from protocol.plan import load_plan

    plan = None if run is None else load_plan(run)
    settings = ClusterSettings(out, broker, device, threads)
    console = Console(stderr=True, emoji=False, highlight=False)
    out.mkdir(parents=True, exist_ok=True)
    hospitals = _hospitals(silo, silos, out, policy)
    with Processes(out / "logs") as processes:
        with console.status("making keys and kits") as status:
            layout = start(hospitals, settings, processes, lambda what: status.update(what))
        console.print(f"{len(hospitals)} silos serve, TLS on port {layout.broker_port}; logs in {out / 'logs'}.", markup=False)
        if plan is not None:
            with Live(console=console, auto_refresh=False, transient=True) as live:
                watch = (lambda ticket: live.update(draw([ticket]), refresh=True)) if console.is_terminal else lambda _: None
                result = run_plan(plan, layout, settings, processes, watch)
        else:
            folder = layout.office.folder
            console.print(
                f"fedward aggregator submit PLAN --folder {folder}\nfedward aggregator status --folder {folder} --watch"
            )
            console.print("Ctrl-C stops everything.")
            with suppress(KeyboardInterrupt):
                _wait(processes)
            return
    print_result(result)
    if json_output:
        typer.echo(json.dumps(result.report, ensure_ascii=False))


def _wait(processes: object) -> None:
    import time

    while True:
        processes.check()  # type: ignore[attr-defined]
        time.sleep(1.0)


def _hospitals(silo: list[str] | None, silos: int, out: Path, policy: Path | None) -> dict[str, Hospital]:
    from fedward.cli.silos import parse_silos
    from fedward.cluster.layout import Hospital
    from fedward.hospitals import ledger_of
    from protocol.consortium.requests import check_name

    if silo:
        stores = parse_silos(silo)
        for name in stores:
            check_name(name)
    else:
        from fedward.demo.show import make_cohorts

        stores = dict(list(make_cohorts(out).items())[:silos])
    return {
        name: Hospital(store, policy or store.with_name(f"{store.name}.policy.yaml"), ledger_of(store, None))
        for name, store in stores.items()
    }
