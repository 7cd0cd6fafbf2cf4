"""`fedward aggregator`: what the coordinator runs. Exit codes are those of protocol.errors."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from aggregator.service.queue import Ticket

app = typer.Typer(help="At the coordinator: serve, submit plans, see how jobs stand.", no_args_is_help=True)

FolderOption = Annotated[Path, typer.Option("--folder", help="The consortium's folder, from `fedward consortium init`.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, last.")]
_FOLDER = Path("consortium")


@app.callback()
def aggregator() -> None:
    """At the coordinator: serve, submit plans, see how jobs stand."""


@app.command()
def serve(
    folder: FolderOption = _FOLDER,
    tracking_uri: Annotated[
        str,
        typer.Option(
            "--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="MLflow to log to.", show_default="sqlite in --folder"
        ),
    ] = "",
    tracking_folder: Annotated[
        Path | None, typer.Option("--tracking-folder", help="Folder of MLflow's sqlite store.", show_default="--folder")
    ] = None,
    tries: Annotated[int, typer.Option(min=1, help="How often a job that loses its quorum is tried.")] = 3,
    grace: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for enough hospitals before the next try.")] = 600.0,
    health_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1 of /healthz, /readyz and /metrics; 0: none.")
    ] = 0,
    log: Annotated[str, typer.Option(help="json: one object a line; text: for people.")] = "text",
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when no job waits.")] = False,
) -> None:
    """Run the submitted jobs, one after the other. Killed at any instant, started again it goes on where it was."""
    import signal

    from aggregator.consortium.office import Office
    from aggregator.service.office import Aggregator, ServiceSettings, connected
    from protocol.service_lock import only_one
    from protocol.service_log import start_log

    _check(folder)
    settings = ServiceSettings(tracking_uri, tracking_folder, tries, grace, health_port)
    with only_one(folder / "serve.lock", "fedward aggregator serve"):  # two would run one job and end it for each other
        start_log(log)
        import mlflow  # noqa: F401 - these two take seconds; the first job must not wait for them
        import monai.networks.nets  # noqa: F401

        outdated = True
        while outdated:  # a hospital came or went: connect again with the new roster
            with connected(Office(folder), settings) as service:

                def stop(*_: object, ending: Aggregator = service) -> None:
                    ending.stop()
                    for again in (signal.SIGTERM, signal.SIGINT):
                        signal.signal(again, signal.SIG_DFL)

                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, stop)
                outdated = service.run(until_idle=until_idle)


@app.command()
def submit(
    plan: Annotated[Path, typer.Argument(help="The plan (YAML).")], folder: FolderOption = _FOLDER, json_: JsonOption = False
) -> None:
    """Put a plan in the queue, unless it could never run."""
    from aggregator.consortium.office import Office
    from aggregator.service.queue import Queue
    from fedward.submission import refuse_hopeless
    from protocol.plan import load_plan

    _check(folder)
    wanted = load_plan(plan)
    refuse_hopeless(wanted, Office(folder))
    ticket = Queue(folder).submit(wanted)
    if json_:
        typer.echo(json.dumps({"job": ticket.name, "folder": str(ticket.folder)}))
        return
    typer.echo(f"{ticket.name} waits. See it with `fedward aggregator status`; results will lie in {ticket.folder}.")


@app.command()
def cancel(
    job: Annotated[str, typer.Argument(help="Name or number of the job.")],
    folder: FolderOption = _FOLDER,
    json_: JsonOption = False,
) -> None:
    """End a job: one that waits at once, a running one at the next answer of a hospital. What was paid stays paid."""
    from aggregator.service.queue import Queue

    _check(folder)
    ticket = Queue(folder).cancel(job)
    typer.echo(json.dumps({"job": ticket.name, "cancel": True}) if json_ else f"{ticket.name} will end.")


@app.command()
def status(
    folder: FolderOption = _FOLDER,
    watch: Annotated[bool, typer.Option("--watch", help="Draw again every second until Ctrl-C.")] = False,
    json_: JsonOption = False,
) -> None:
    """Which jobs there are, and of the running one: which round, who is training, who is late."""
    from aggregator.service.queue import Queue

    _check(folder)
    queue = Queue(folder)
    if json_:
        typer.echo(json.dumps({"jobs": [_facts(ticket) for ticket in queue.tickets()]}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.live import Live

    from fedward.status import draw

    console = Console(emoji=False, highlight=False)
    if not (watch and console.is_terminal):
        console.print(draw(queue.tickets()))
        return
    with Live(draw(queue.tickets()), console=console, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while True:
            time.sleep(1.0)
            live.update(draw(queue.tickets()), refresh=True)


def _facts(ticket: Ticket) -> dict[str, Any]:
    import msgspec

    from aggregator.service.live import read_live

    live = read_live(ticket.live)
    facts: dict[str, Any] = {"job": ticket.name, "folder": str(ticket.folder), **msgspec.to_builtins(ticket.standing())}
    return facts | {"live": None if live is None else msgspec.to_builtins(live)}


def _check(folder: Path) -> None:
    from protocol.errors import ConsortiumError

    if not (folder / "roster.json").exists():
        raise ConsortiumError(f"{folder} holds no consortium; name its folder with --folder, or make one with `init`.")
