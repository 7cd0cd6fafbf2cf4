"""The demo: phantoms -> DICOM -> intake -> federation -> MLflow and report."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fedward.demo.phantoms import write_hospitals
from fedward.federation import Result, run_federation
from fedward.progress import Progress as JobProgress
from fedward.progress import print_result
from fedward.settings import Settings
from privacy.guarantee import guarantee_of
from protocol.errors import InputError
from protocol.plan import Plan, load_plan


def run_demo(out: Path, *, threads: int = 0) -> Result:
    """Everything a federation does, in `out`. Raises InputError if a demo is already there."""
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty. Delete it, or choose another folder with --out.")
    out.mkdir(parents=True, exist_ok=True)
    plan_file = out / "demo-plan.yaml"
    plan_file.write_text((files("fedward.demo") / "plan.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    plan = load_plan(plan_file)
    Console(stderr=True, emoji=False).print(_promise(plan), soft_wrap=True, markup=False, highlight=False)
    stores = make_cohorts(out)
    with JobProgress() as progress:
        result = run_federation(plan, stores, Settings(out, threads=threads, homes=out / "homes"), progress)
    print_result(result)
    return result


def _promise(plan: Plan) -> str:
    """Who is protected, and how well, before anything happens; computed, so that it follows a changed plan."""
    guarantee = guarantee_of(plan)
    if guarantee.mechanism == "none":
        return "privacy: none (epsilon: infinite)"
    return (
        f"privacy: every {guarantee.unit} of every hospital, epsilon {guarantee.epsilon:.3g} at delta {guarantee.delta:g} "
        f"for the whole study; noise is added inside each hospital, before anything leaves it"
    )


def make_cohorts(out: Path) -> dict[str, Path]:
    """Write the hospitals' DICOM exports and import each the way its hospital would."""
    from silo_node.intake import import_folder

    # Phantoms have no one to protect: a key known to all makes every demo split its patients alike.
    key = out / "pseudonym.key"
    key.touch(mode=0o600)
    key.write_bytes(hashlib.sha256(b"fedward demo").digest())
    console = Console(stderr=True, emoji=False)
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    stores: dict[str, Path] = {}
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("writing phantom studies as DICOM", total=None)
        hospitals = write_hospitals(
            out / "hospitals", on_progress=lambda done, total: bars.update(task, completed=done, total=total)
        )
        for hospital in hospitals:
            task = bars.add_task(f"importing {hospital.name}", total=None)

            def step(done: int, total: int, task: object = task) -> None:
                bars.update(task, completed=done, total=total)  # type: ignore[arg-type]

            store = out / "stores" / hospital.name
            store.parent.mkdir(exist_ok=True)
            import_folder(hospital.dicom, hospital.labels, store, key=key, on_progress=step)
            stores[hospital.name] = store
    for hospital in hospitals:
        console.print(f"  {hospital.name}: {hospital.description}", style="dim", markup=False, highlight=False)
    return stores
