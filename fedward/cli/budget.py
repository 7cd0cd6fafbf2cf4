"""`fedward silo budget`: what the patients of a cohort have paid so far, study by study, and what is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from privacy.ledger import Ledger, Spent, Study

_BAR = 48  # characters
_FORMATS = (".svg", ".png")


def budget(
    ledger: Annotated[
        Path,
        typer.Argument(metavar="STORE_OR_LEDGER", readable=False, help="A cohort store, or its STORE.ledger.jsonl. Only read."),
    ],
    max_epsilon: Annotated[
        float | None,
        typer.Option(min=1e-6, max=1e6, help="Another limit over all studies than the hospital's policy file has."),
    ] = None,
    delta: Annotated[
        float | None,
        typer.Option(min=1e-15, max=0.1, help="Delta at which epsilon is told; left out: the smallest of the studies' plans."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the cumulative epsilon as a picture: FILE.svg or FILE.png.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on the last line.")] = False,
) -> None:
    """Show what the patients of a cohort have paid in privacy (epsilon), study by study."""
    from rich.console import Console

    from privacy.ledger import Ledger, spent_epsilon
    from protocol.errors import InputError

    if plot is not None and plot.suffix.lower() not in _FORMATS:
        raise InputError(f"--plot {plot}: the name must end in {' or '.join(_FORMATS)}.")
    book = Ledger.open(ledger_of(ledger))
    spent = spent_epsilon(book, delta)
    total, at, per_study = _allowed(book.path, max_epsilon, delta)
    limit = _limit(book, total, at) | {"max_epsilon_per_study": per_study}
    console = Console(stderr=json_, emoji=False, highlight=False)
    _print(book, spent, limit, console)
    if plot is not None:
        _write_plot(plot, book, spent.delta, limit["max_epsilon"])
        console.print(f"Picture  {plot}", soft_wrap=True, markup=False)
    if json_:
        typer.echo(json.dumps(_as_json(book, spent, limit) | ({"plot": str(plot)} if plot else {})))


def ledger_of(path: Path) -> Path:
    """The ledger of a cohort store, or the ledger itself. Raises LedgerError if a store has none beside it."""
    from protocol.errors import LedgerError

    if not path.is_dir():
        return path
    store = path.resolve()
    beside = store.with_name(store.name + ".ledger.jsonl")
    if not beside.exists():
        raise LedgerError(
            f"{path}: there is no {beside.name} beside this store. Either no study under differential privacy ever ran on this "
            "cohort, or its ledger was lost: then restore it, because without it the budget counts as spent."
        )
    return beside


def _allowed(ledger: Path, max_epsilon: float | None, delta: float | None) -> tuple[float, float, float]:
    """(epsilon, delta) of all studies together, and epsilon of one: the options, else the policy beside the ledger."""
    from silo_node.policy import load_policy

    policy = load_policy(ledger.with_name(ledger.name.removesuffix(".ledger.jsonl") + ".policy.yaml"))
    return max_epsilon or policy.max_epsilon_total, delta or policy.max_delta, policy.max_epsilon_per_study


def _limit(book: Ledger, max_epsilon: float, delta: float) -> dict[str, Any]:
    from privacy.ledger import Budget
    from privacy.ledger.budget import by_job

    allowed = Budget(max_epsilon_per_study=max_epsilon, max_epsilon_total=max_epsilon, delta=delta)
    share = allowed.share(by_job(book.entries).values())
    left = allowed.epsilon_left(share) if share < 1.0 else 0.0
    return {"max_epsilon": max_epsilon, "delta": delta, "order": allowed.order, "share_spent": share, "epsilon_left": left}


def _print(book: Ledger, spent: Spent, limit: dict[str, Any], console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    title = f"Privacy budget of cohort {escape(book.cohort)}"
    table = Table(title=title, title_justify="left", caption=f"epsilon at delta {spent.delta:g}; unit: one patient")
    for heading in ("#", "study", "part", "what left", "epsilon", "when (UTC)"):
        table.add_column(heading, justify="right" if heading == "epsilon" else "left", no_wrap=heading == "epsilon")
    for number, study in enumerate(spent.studies, 1):
        for row, (part, cost) in enumerate(study.epsilon_by_part.items()):
            names = (str(number), study.study) if row == 0 else ("", study.job if row == 1 else "")
            when = _days(study.first, study.last) if row == 0 else ""
            worst = "[bold]" if cost == study.epsilon else "[dim]"
            if len(study.epsilon_by_part) == 1:
                names = (str(number), f"{study.study}\n{study.job}")
            table.add_row(*map(escape, names), part, _what(study, part), f"{worst}{cost:.3f}[/]", when)
        table.add_section()
    console.print(table)
    _print_bars(spent, limit, console)
    console.print("A patient stands in one part of each study: a study costs its largest part, a total its worst patient.")
    over = limit["share_spent"] >= 1.0
    colour = "red" if over else "green"
    room = min(limit["epsilon_left"], limit["max_epsilon_per_study"])
    left = "nothing is left" if over else f"room for a next study of up to epsilon {room:.2f} at that delta"
    console.print(
        f"[{colour}]{limit['share_spent']:.1%}[/] of the limit of epsilon {limit['max_epsilon']:g} at delta {limit['delta']:g} "
        f"is spent: {left}. (A Renyi filter of order {limit['order']} counts; its shares are not shares of epsilon.)"
    )
    console.print(f"Head     {book.head.entries} charges, {book.head.digest}", soft_wrap=True)
    if book.torn:
        console.print(f"[yellow]Note:[/] the last line was never finished ({book.torn} bytes); the next charge cuts it off.")


def _print_bars(spent: Spent, limit: dict[str, Any], console: Console) -> None:
    rows = [(f"{number}  {study.study}", study.epsilon) for number, study in enumerate(spent.studies, 1)]
    rows.append(("all studies together", spent.epsilon))
    most = max([limit["max_epsilon"], *(value for _, value in rows)])
    if not spent.studies:
        console.print("Nothing has been charged.")
    width = min(40, max(len(name) for name, _ in [*rows, ("limit", 0.0)]))
    for name, value in rows:
        bar = "█" * max(1, round(_BAR * value / most)) if value > 0 else ""
        console.print(f"{name[:width]:<{width}} {bar} {value:.3f}", markup=False, soft_wrap=True)
    ruler = "─" * max(0, round(_BAR * limit["max_epsilon"] / most) - 1) + "┤"
    console.print(
        f"{'limit':<{width}} {ruler} {limit['max_epsilon']:g} at delta {limit['delta']:g}", markup=False, soft_wrap=True
    )


def _what(study: Study, part: str) -> str:
    from privacy.events import mechanisms

    return "; ".join(_words(event, count) for event, count in mechanisms(study.events[part]))


def _words(event: Any, count: int) -> str:
    from privacy.event_json import encode

    match encode(event):
        case {"type": "poisson_sampled", "sampling_probability": rate, "event": {"noise_multiplier": sigma}}:
            return f"{count} steps, noise {sigma:g}, sampling {rate:g}"
        case {"type": "gaussian", "noise_multiplier": sigma}:
            return f"{count} steps, noise {sigma:g}, every patient"
        case {"type": "discrete_laplace", "epsilon": pure}:
            return f"{count} noised histogram{'s' if count > 1 else ''} of epsilon {pure:g}"
        case _:
            return f"{count} releases"


def _days(first: str, last: str) -> str:
    return first[:10] if first[:10] == last[:10] else f"{first[:10]} to {last[:10]}"


def _write_plot(path: Path, book: Ledger, delta: float, max_epsilon: float | None) -> None:
    from fedward.cli.budget_plot import draw
    from protocol.errors import InputError

    try:
        path.write_bytes(draw(book, delta, max_epsilon, path.suffix.lower().removeprefix(".")))
    except OSError as error:
        raise InputError(f"--plot {path}: cannot be written ({error.strerror}).") from error


def _as_json(book: Ledger, spent: Spent, limit: dict[str, Any]) -> dict[str, Any]:
    studies = [
        {
            "study": study.study,
            "plan": study.plan,
            "job": study.job,
            "epsilon": study.epsilon,
            "parts": {
                part: {"epsilon": cost, "releases": study.releases[part], "what": _what(study, part)}
                for part, cost in study.epsilon_by_part.items()
            },
            "first": study.first,
            "last": study.last,
        }
        for study in spent.studies
    ]
    return {
        "ledger": str(book.path),
        "cohort": book.cohort,
        "created": book.created,
        "unit": "patient",
        "delta": spent.delta,
        "epsilon": spent.epsilon,
        "studies": studies,
        "limit": limit,
        "head": {"entries": book.head.entries, "digest": book.head.digest},
        "torn_bytes": book.torn,
    }
