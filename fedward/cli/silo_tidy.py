"""`fedward silo tidy`: models and caches of jobs that are long over, old messages and plans rejected long ago."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from protocol.service_leftovers import Leftover


def tidy(
    config: Annotated[Path, typer.Argument(help="Configuration of the node.", show_default=False)] = Path("silo.yaml"),
    older_than: Annotated[float, typer.Option("--older-than", help="Days in which nothing of it was touched.")] = 90.0,
    remove: Annotated[bool, typer.Option("--remove", help="Remove them. Without it they are only shown.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object, last.")] = False,
) -> None:
    """Show, or remove, models and caches of jobs that are over, old messages of researchers and plans rejected long ago.

    Ledger, receipts, decisions, keys and the node's memory always stay.
    """
    from protocol.errors import InputError
    from silo_node.service import tidy as work
    from silo_node.service.config import load_config, places

    wanted = load_config(config)
    found = [*work.leftovers(places(wanted, config.absolute().parent).state, older_than), *_of_governance(config, older_than)]
    sizes = {one.name: one.size for one in found}
    for one in found:
        typer.echo(f"{sizes[one.name] / 1e6:>10.1f} MB  {one.days:>6.0f} days  {one.name}", err=json_)
    if remove:
        try:
            for one in found:
                work.remove(one)
        except OSError as error:
            raise InputError(f"{error.filename}: {error.strerror}; run it as the user of the node.") from error
    total = f"{len(found)} older than {older_than:g} days, {sum(sizes.values()) / 1e6:.1f} MB"
    typer.echo(f"{total}, removed." if remove else f"{total}. Nothing was removed; --remove does.", err=json_)
    if json_:
        facts = [{"name": one.name, "days": round(one.days, 1), "bytes": sizes[one.name]} for one in found]
        typer.echo(json.dumps({"removed": remove, "leftovers": facts}))


def _of_governance(config: Path, older_than: float) -> tuple[Leftover, ...]:
    """Nothing where no officers decide, or the hospital has not joined yet."""
    from fedward.cli.silo_governance import open_office
    from protocol.errors import ApprovalError, InputError

    try:
        office = open_office(config).office
    except (ApprovalError, InputError):
        return ()
    return office.leftovers(older_than)
