"""`fedward weights`: public weights on this machine, found by their digest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Public weights that plans may start from.", no_args_is_help=True)


@app.callback()
def weights() -> None:
    """Public weights that plans may start from."""


@app.command()
def add(path: Annotated[Path, typer.Argument(help="A safetensors file of public weights.", show_default=False)]) -> None:
    """Keep a copy of a file of public weights on this machine; print the line that names it in a plan."""
    from protocol.weights import add_weights

    digest = add_weights(path)
    typer.echo(f"kept. In the plan, to start from it, under network:\n  weights: {digest}")
    typer.echo(f"or, to test it beside the final model, under evaluation.audit:\n  compare_with: {digest}")
