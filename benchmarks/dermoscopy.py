"""Is it worth federating? Four hospitals of real dermoscopy, test AUROC at the two with at least 30 malignant test images.

    python benchmarks/dermoscopy.py                     every setting, three seeds, full length
    python benchmarks/dermoscopy.py --jobs 2            two settings at a time
    python benchmarks/dermoscopy.py --quick --json      under a minute: one seed, few images - only shows that it runs

Every setting is a change of examples/dermoscopy/plan.yaml, the one called "best". All share its network, augmentation, balanced
batches, schedule and number of local steps; "naive FedAvg" is what one would write first. Pooled training sees all hospitals'
images in one place and takes as many steps as all hospitals together. "Alone" is what `fedward run` reports as alone; "mixed"
averages two models' log-probabilities: the common model and the hospital's own, or, for comparison, two of its own.

Data: DICOM made by shared/data/derm/to_dicom.py (HAM10000, CC BY-NC 4.0: for measuring only), imported as a hospital would.
Finished units are kept in --work, so that an interrupted benchmark goes on where it stopped.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from dermoscopy_sites import DATA, JUDGED, ROOT, SITES, Unit, keep, open_nodes, prepare, prepare_pooled, run_units, unit_file
from rich.console import Console
from rich.table import Table

PLAN = ROOT / "examples" / "dermoscopy" / "plan.yaml"

PLAIN: dict[str, Any] = {"federation.weighting": "samples", "federation.personal": []}
MIXED = "mixed"
Rows = dict[str, dict[str, float]]
SETTINGS: dict[str, dict[str, Any]] = {
    "pooled": {},
    "alone": {},
    "naive FedAvg": {
        **PLAIN,
        "training.mu": 0.0,
        "federation.strategy": {"name": "FedAvg"},
        "training.sampling": "shuffle",
        "training.optimizer": {"name": "SGD", "lr": 0.01},
        "training.schedule": {"name": "constant"},
    },
    "FedAvg": {**PLAIN, "training.mu": 0.0, "federation.strategy": {"name": "FedAvg"}},
    "FedProx": PLAIN,
    # A server rate at which a first step is about as long as the mean update; not tuned further.
    "FedProx + server Adam": {**PLAIN, "federation.strategy": {"name": "FedAdam", "lr": 0.01, "tau": 0.01}},
    "FedProx + FedBN": {**PLAIN, "federation.personal": ["norm"]},
    "best": {},
}


# ------------------------------------------------------------------------------------------------------- one unit of work


def make_plan(setting: str, seed: int, rounds: int | None, *, quick: bool = False) -> Any:
    """The plan of one setting: the example with that setting's changes."""
    from protocol.plan import load_plan, parse_plan

    value = copy.deepcopy(load_plan(PLAN).to_json())
    value["seed"] = seed
    value["evaluation"]["every"] = 1000
    if setting != "best":
        value["evaluation"] |= {"alone": False, "personalise": "none"}
    if rounds:
        value["federation"]["rounds"] = rounds
    for path, new in SETTINGS[setting].items():
        *parents, last = path.split(".")
        part = value
        for parent in parents:
            part = part[parent]
        part[last] = new
    if setting == "pooled":
        value["training"]["local_steps"] *= len(SITES)
    if quick:
        value["training"]["local_steps"] = 4
    return parse_plan(json.dumps(value), name=setting)


def run_unit(setting: str, plan: Any, work: Path) -> Rows:
    """The rows of the table that one setting gives under one seed."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = {"pooled": _pooled, "alone": _alone}.get(setting, _federated)
        return run(setting, plan, work, Path(folder))


def _federated(setting: str, plan: Any, work: Path, folder: Path) -> Rows:
    """The whole job as `fedward run` does it; the common model, and each hospital's mix of it with its own."""
    from aggregator.job import Job
    from evaluation.federated import site_auroc
    from protocol.secure_aggregation import Member
    from protocol.transport.in_process import InProcessTransport

    nodes = open_nodes(work, folder)
    members = [Member(name, node.public_key) for name, node in nodes.items()]
    for node in nodes.values():
        node.pin(members)
    job = Job(plan, InProcessTransport(nodes), folder / "job", lambda _: None, {}, members)
    rows: Rows = {}
    with closing(job.journal):
        job.run()
        for record in job.scores():
            name = {"federated": setting, "personalised": f"{setting}, {MIXED}"}.get(record.kind)
            if name and record.split == "test":
                found = {site: site_auroc(scores).value for site, scores in record.scores.items()}
                rows[name] = {site: value for site, value in found.items() if value is not None}
    return rows


def _alone(setting: str, plan: Any, work: Path, folder: Path) -> Rows:
    """What `fedward run` calls alone (same stream, same figure), and two such models mixed: what mixing gives by itself."""
    from evaluation.delong import delong
    from silo_node.cohort import CohortStore
    from silo_node.scoring import log_probabilities, mix

    rows: Rows = {setting: {}, f"{setting}, two {MIXED}": {}}
    for site in JUDGED:
        store = CohortStore.open(work / "stores" / site)
        models = [_train_local(plan, store, folder, name) for name in (site, f"{site}-again")]
        logs = [log_probabilities(model, cohort, "test") for model, cohort in models]
        cohort = models[0][1]
        labels = cohort.labels[list(cohort.parts.test)]
        for name, log in zip(rows, (logs[0], mix(*logs)), strict=True):
            measured = delong(labels == 1, log[:, 1] - log[:, 0])
            if measured is not None:
                rows[name][site] = measured[0]
    return rows


def _pooled(setting: str, plan: Any, work: Path, folder: Path) -> Rows:
    """All hospitals' images in one place, scored by hospital."""
    import dataclasses

    from silo_node.cohort import CohortStore
    from silo_node.scoring import score
    from silo_node.splits import Parts

    store = CohortStore.open(work / "stores" / "pooled")
    model, cohort = _train_local(plan, store, folder, "pooled")
    found: dict[str, float] = {}
    for site in SITES:
        chosen = tuple(i for i in cohort.parts.test if store.samples[i].labels["site"] == site)
        scored = score(model, dataclasses.replace(cohort, parts=Parts((), (), chosen)), "test")
        if scored is not None and scored.classes[0].auroc is not None:
            found[site] = scored.classes[0].auroc
    return {setting: found}


def _train_local(plan: Any, store: Any, folder: Path, name: str) -> tuple[Any, Any]:
    """A model trained on one store without a federation, and its cohort."""
    import torch

    from silo_node.training.cohort import load_cohort
    from silo_node.training.local import Trainer
    from silo_node.training.model import SiloModel

    cohort = load_cohort(store, plan, folder / "cache")
    model = SiloModel(plan, cohort.input_shape, torch.device("cpu"))
    Trainer(plan, cohort, model, name).alone(time.monotonic() + 1e6, lambda _: None)
    return model, cohort


# --------------------------------------------------------------------------------------------------------------- running


def make_unit(setting: str, seed: int, plan: Any, work: Path, rounds: int | None) -> Unit:
    """One setting under one seed."""
    arguments = ["--work", str(work), "--unit", setting, "--seeds", str(seed), "--rounds", str(rounds or 0)]
    return Unit(unit_file(work, setting, plan), lambda: run_unit(setting, plan, work), arguments)


def summarise(results: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Mean over the seeds by site, and over the two judged sites."""
    rows = {}
    for setting, seeds in results.items():
        by_site = {site: statistics.mean(r[site] for r in seeds) for site in SITES if all(site in r for r in seeds)}
        means = [statistics.mean(r[site] for site in JUDGED) for r in seeds]
        rows[setting] = {"sites": by_site, "mean": statistics.mean(means), "by_seed": means}
    return rows


def show(rows: dict[str, dict[str, Any]], seeds: Iterable[int], console: Console) -> None:
    """The table people read."""
    table = Table(title=f"Test AUROC by hospital, mean over seeds {', '.join(map(str, seeds))}")
    for column in ("setting", *JUDGED, "mean of the two", "by seed"):
        table.add_column(column, justify="left" if column == "setting" else "right", no_wrap=True)
    for setting, row in rows.items():
        cells = [f"{row['sites'][site]:.3f}" for site in JUDGED]
        by_seed = " ".join(f"{value:.3f}" for value in row["by_seed"])
        table.add_row(setting, *cells, f"{row['mean']:.3f}", by_seed, style="bold" if setting.startswith("best") else None)
    console.print(table)


def main() -> None:
    """Prepare the stores, run the units, print the table."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=DATA, help="folder with to_dicom.py")
    cli.add_argument("--work", type=Path, default=None, help="folder for stores and finished units; default: a temporary one")
    cli.add_argument("--seeds", default="1,2,3")
    cli.add_argument("--only", default="", help="comma-separated settings; all if left out")
    cli.add_argument("--jobs", type=int, default=1, help="units at a time, one thread each")
    cli.add_argument("--rounds", type=int, default=0, help="override the plan's rounds")
    cli.add_argument("--quick", action="store_true", help="one seed, 2 rounds, 150 images a hospital: no figure to quote")
    cli.add_argument("--json", action="store_true", help="one JSON object as the last line")
    cli.add_argument("--unit", default="", help=argparse.SUPPRESS)
    args = cli.parse_args()
    seeds = [1] if args.quick else [int(seed) for seed in args.seeds.split(",")]
    rounds = args.rounds or (2 if args.quick else None)
    if args.unit:
        keep(make_unit(args.unit, seeds[0], make_plan(args.unit, seeds[0], rounds), args.work, rounds))
        return
    console = Console(stderr=True)
    if not (args.data / "to_dicom.py").exists():
        console.print("No dermoscopy images here. Name the folder with to_dicom.py by --data.")
        sys.exit(2)
    names = [name.strip() for name in args.only.split(",") if name.strip()] or list(SETTINGS)
    with tempfile.TemporaryDirectory() as temporary:
        work = (args.work or Path(temporary)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        with console.status("importing four hospitals"):
            prepare(work, args.data, 150 if args.quick else None)
            prepare_pooled(work)
        plans = [(name, seed, make_plan(name, seed, rounds, quick=args.quick)) for seed in seeds for name in names]
        units = [make_unit(name, seed, plan, work, rounds) for name, seed, plan in plans]
        run_units(units, 1 if args.quick else args.jobs, console, __file__)
        results: dict[str, list[dict[str, float]]] = {}
        for unit in units:
            for row, by_site in json.loads(unit.file.read_text()).items():
                results.setdefault(row, []).append(by_site)
    rows = summarise(results)
    show(rows, seeds, console)
    if args.json:
        print(json.dumps({"benchmark": "dermoscopy", "quick": args.quick, "seeds": seeds, "settings": rows}))


if __name__ == "__main__":
    main()
