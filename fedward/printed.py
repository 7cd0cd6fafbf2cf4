"""What a finished run prints: its figures as a table, what it promises each patient, and what to open."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluation.report.conclusion import FINDING, INSUFFICIENT, PASS, conclude

if TYPE_CHECKING:
    from fedward.federation import Result

_SIGNS = {PASS: "✓ pass:", FINDING: "✗ finding:", INSUFFICIENT: "? insufficient:"}


def print_result(result: Result) -> None:
    """The outcome as a table, what it promises patients, and what to open."""
    console = Console(stderr=True, emoji=False)
    privacy = result.report["privacy"]
    private = privacy["mechanism"] != "none"
    cases = "patients, noised" if private else "images"
    console.print()
    console.print(_sums(result.report, cases) or _sites(result.report, cases, private=private))
    console.print()
    console.print(promise(privacy))
    for reason in fairness(result.report):
        console.print(Text(reason), soft_wrap=True)
    console.print(f"\nreport   {result.report_html}\nmodel    {result.model}", markup=False, highlight=False, soft_wrap=True)
    if (evidence := result.report_html.with_name("evidence")).is_dir():
        own = evidence / "site-keys.json"
        keys = own if own.is_file() else "KEYS"
        line = f"evidence fedward audit verify {evidence} --keys {keys}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    style = "yellow" if result.tracking_problem else ""
    console.print(f"MLflow   {_tracking(result)}", style=style, markup=False, highlight=False, soft_wrap=True)


def _sites(report: dict[str, Any], cases: str, *, private: bool) -> Table:
    """Each hospital's figures, and those of all together."""
    table = Table(title=f"AUROC on test {cases}, 95% interval", title_justify="left", box=None, padding=(0, 2, 0, 0))
    kinds = {"federated": "auroc"} if private else {"federated": "auroc", "alone": "alone", "personalised": "personalised"}
    sizes = {} if private else {"train": "n_train", "test": "n_test"}
    for column in ("hospital", *sizes, *kinds):
        table.add_column(column, justify="left" if column == "hospital" else "right", no_wrap=True)
    for site in report["sites"]:
        cells = [_estimate(site.get(key)) for key in kinds.values()]
        table.add_row(Text(site["id"]), *("–" if site[key] is None else str(site[key]) for key in sizes.values()), *cells)
    pooled = report["performance"]["global"]["auroc"]
    table.add_row("all together", *("" for _ in sizes), _estimate(pooled), style="bold")
    return table


def _sums(report: dict[str, Any], cases: str) -> Table | None:
    """The sums over hospitals, where the plan lets nothing else leave; None where it does."""
    sums = report["performance"]["sums"]
    if sums is None:
        return None
    title = f"AUROC on test {cases}, 95% interval; the plan lets only sums over hospitals leave"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("model", no_wrap=True)
    table.add_column("all together", justify="right", no_wrap=True)
    table.add_column("in the sum")
    for one in sums:
        table.add_row(one["kind"], _estimate(one["auroc"]), Text(", ".join(one["sites"]) or f"no sum: {one['reason']}"))
    return table


def promise(privacy: dict[str, Any]) -> Text:
    """What report.json's `privacy` promises each patient in one line, in red where that is nothing and yellow where little."""
    if privacy["mechanism"] == "none":
        return Text("privacy  epsilon: infinite (no differential privacy)", style="bold red")
    if privacy["loud"]:
        return Text(f"privacy  {privacy['statement']}: a weak promise, above 8", style="bold yellow")
    return Text(f"privacy  {privacy['statement']}", style="bold")


def fairness(report: dict[str, Any]) -> list[str]:
    """What the audit found of unequal service, a line each; none where the plan asked for no audit."""
    if report.get("audit") is None:
        return []
    found = [reason for reason in conclude(report, []) if reason.text.startswith("fairness: ")]
    return [f"fairness {_SIGNS[reason.code]} {reason.text.removeprefix('fairness: ')}" for reason in found]


def _tracking(result: Result) -> str:
    """What to do to see the run in MLflow, or why there is nothing to see."""
    if result.tracking_problem:
        return result.tracking_problem
    if not result.tracking_uri.startswith("sqlite:"):
        return result.tracking_uri
    return f"MLFLOW_DISABLE_TELEMETRY=true {_mlflow()} ui --backend-store-uri {result.tracking_uri}"


def _mlflow() -> str:
    """MLflow's command beside this Python, so that the line works without activating the environment."""
    beside = Path(sys.executable).with_name("mlflow")
    return str(beside) if beside.exists() else "mlflow"


def _estimate(value: dict[str, Any] | None) -> str:
    if value is None or value.get("value") is None:
        return "–"
    return f"{value['value']:.3f} {value['lo']:.2f}–{value['hi']:.2f}"
