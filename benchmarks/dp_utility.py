"""What does patient-level privacy cost in AUROC? Four hospitals of real dermoscopy, both private example plans.

    python benchmarks/dp_utility.py --work W            epsilon infinite, 8, 3 and 1, three seeds; --jobs 2: two at a time
    python benchmarks/dp_utility.py --mechanism distributed        only one of the two: local or distributed
    python benchmarks/dp_utility.py --plot out.png      also the picture
    python benchmarks/dp_utility.py --quick --json      under a minute: one seed, few images - only shows that it runs
    python benchmarks/dp_utility.py --held-out --epsilons 8 --seeds 1 --change privacy.views=1      what a setting is worth

The last line is how settings are chosen: a quarter of the training patients is held out, and the test fold is not looked at.

Distributed is examples/dermoscopy/plan-private.yaml: each hospital adds a share of the noise, and secure aggregation opens only
the sum. Local is plan-local.yaml beside it: every hospital adds all of it. Everything is the plan as it stands, delta 1e-6;
only epsilon changes, and fedward finds the noise that goes with it. Fewer steps need less noise each, so below epsilon 8 the
plan's rounds are multiplied by (epsilon / 8)^(2/3): of local's 40, 21 at epsilon 3 and 10 at epsilon 1. About so many did
best there on patients held out of the training fold; distributed takes the rule over.

"infinite" is the same plan with noise_multiplier 0.05, a twenty-fourth of local's noise at epsilon 8: patients are still
sampled, clipped and cut to integers, but no noise worth the name is added and nothing is promised. What clipping, the smaller
network and the settings that privacy forbids cost shows beside the non-private plan.yaml, whose figures `--reference` reads
from the output of `benchmarks/dermoscopy.py --json`.

AUROCs are exact and computed here, on the hospitals' stores: the data are public research data. In a federation only noised
histograms leave a hospital, and their noise would be measured along. Ledgers of each unit lie in a temporary folder of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermoscopy_sites import DATA, ROOT, SITES, Unit, keep, open_nodes, prepare, run_units, unit_file
from dp_utility_figures import Result, plot, read_reference, show, summarise
from rich.console import Console

EXAMPLES = ROOT / "examples" / "dermoscopy"
PLANS = {"local": EXAMPLES / "plan-local.yaml", "distributed": EXAMPLES / "plan-private.yaml"}  # by mechanism
EPSILONS = (math.inf, 8.0, 3.0, 1.0)
NO_NOISE = 0.05
FULL_LENGTH = 8.0  # epsilon from which the plan runs all of its rounds; make_plan says how many below


@dataclass(frozen=True)
class Variant:
    """What is different from the plan as it stands."""

    rounds: int | None = None
    changes: tuple[str, ...] = ()
    held_out: bool = False
    quick: bool = False

    @property
    def part(self) -> str:
        """Whose AUROC counts."""
        return "validation" if self.held_out else "test"

    @property
    def arguments(self) -> list[str]:
        """The same on the command line of a unit's own process."""
        changes = [word for change in self.changes for word in ("--change", change)]
        return ["--rounds", str(self.rounds or 0), *changes, *(["--held-out"] if self.held_out else [])]


def make_plan(mechanism: str, epsilon: float, seed: int, variant: Variant) -> Any:
    """The mechanism's example at another epsilon: below 8 with rounds * (epsilon / 8)^(2/3) rounds, as the module says."""
    from protocol.plan import load_plan, parse_plan

    value = load_plan(PLANS[mechanism]).to_json()
    value["seed"] = seed
    value["evaluation"]["audit"] = None  # not what is measured, and test patients could not pay for it below epsilon 4.5
    for change in variant.changes:
        path, _, new = change.partition("=")
        *parents, last = path.split(".")
        part = value
        for parent in parents:
            part = part[parent]
        part[last] = json.loads(new)
    if variant.held_out:
        value["data"]["split"]["validation_fraction"] = 0.25
    if math.isinf(epsilon):
        value["privacy"] |= {"epsilon": None, "noise_multiplier": NO_NOISE}
    else:
        scores = min(value["privacy"]["metrics_epsilon"], epsilon / 2)  # must fit in; it is paid by test patients only
        value["privacy"] |= {"epsilon": epsilon, "metrics_epsilon": scores}
    federation = value["federation"]
    federation["rounds"] = max(
        1, round((variant.rounds or federation["rounds"]) * min(1.0, (epsilon / FULL_LENGTH) ** (2.0 / 3.0)))
    )
    federation["average_last"] = min(federation["average_last"], federation["rounds"])
    if variant.quick:
        value["privacy"]["sampling_rate"] = min(value["privacy"]["sampling_rate"], 0.1)
    return parse_plan(json.dumps(value), name=PLANS[mechanism].name)


def run_unit(plan: Any, work: Path, part: str) -> Result:
    """The whole job as `fedward run` does it, then exact AUROCs on `part`."""
    import torch

    from aggregator.job import Job
    from privacy.guarantee import guarantee_of
    from protocol.secure_aggregation import Member
    from protocol.transport.in_process import InProcessTransport

    torch.set_num_threads(1)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The hospitals of a benchmark refuse nothing: "infinite" would pass every sensible policy.
        nodes = open_nodes(work, folder, max_epsilon_per_study=1e9, max_epsilon_total=1e9)
        members = [Member(name, node.public_key) for name, node in nodes.items()]
        for node in nodes.values():
            node.pin(members)
        job = Job(plan, InProcessTransport(nodes), folder / "job", lambda _: None, {}, members)
        with closing(job.journal):
            job.run()
            seconds = time.monotonic() - start
            vector, stores = job.models.final(), work / "stores"
            auroc = {site: _exact(plan, job.name, vector, stores / site, folder / site, part) for site in SITES}
    guarantee = guarantee_of(plan)
    noise, epsilon = guarantee.noise_multiplier, guarantee.epsilon
    return {"auroc": auroc, "noise_multiplier": noise, "epsilon": epsilon, "seconds": seconds}


def _exact(plan: Any, job: str, vector: Any, store: Path, state: Path, part: str) -> float | None:
    """AUROC of the federation's model as this hospital uses it: with its own parts, where the plan leaves any at home."""
    import torch

    from evaluation.delong import delong
    from silo_node.cohort import CohortStore
    from silo_node.scoring import log_probabilities
    from silo_node.state import JobState
    from silo_node.training.cohort import load_cohort
    from silo_node.training.model import SiloModel

    cohort = load_cohort(CohortStore.open(store), plan, state / "cache")
    model = SiloModel(plan, cohort.input_shape, torch.device("cpu"))
    rounds, last = plan.federation.rounds, plan.federation.average_last
    model.load(vector, JobState(state, job).personal_mean(rounds - last + 1, rounds))
    rows = log_probabilities(model, cohort, part)
    found = delong(cohort.labels[list(cohort.parts.named(part))] == 1, rows[:, 1] - rows[:, 0])
    return None if found is None else float(found[0])


def make_unit(mechanism: str, epsilon: float, seed: int, work: Path, variant: Variant) -> Unit:
    """One mechanism and epsilon under one seed."""
    plan = make_plan(mechanism, epsilon, seed, variant)
    chosen = ["--mechanism", mechanism, "--unit", str(epsilon), "--seeds", str(seed)]
    arguments = ["--work", str(work), *chosen, *variant.arguments]
    name = "private" if mechanism == "local" else mechanism
    return Unit(unit_file(work, f"{name} {epsilon:g}", plan), lambda: run_unit(plan, work, variant.part), arguments)


def main() -> None:
    """Prepare the stores, run the units, print the table."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=DATA, help="folder with to_dicom.py")
    cli.add_argument("--work", type=Path, default=None, help="folder for stores and finished units; default: a temporary one")
    cli.add_argument("--seeds", default="1,2,3")
    cli.add_argument("--mechanism", choices=("both", *PLANS), default="both", help="which of the two plans; default: both")
    cli.add_argument("--epsilons", default=",".join(f"{epsilon:g}" for epsilon in EPSILONS), help="inf: no noise")
    cli.add_argument("--jobs", type=int, default=1, help="units at a time, one thread each")
    cli.add_argument("--rounds", type=int, default=0, help="override the plan's rounds")
    cli.add_argument("--change", action="append", default=[], metavar="KEY=JSON", help="change the plan: privacy.views=1")
    cli.add_argument("--held-out", action="store_true", help="hold out a quarter of the training patients and score them")
    cli.add_argument("--reference", type=Path, default=None, help="output of benchmarks/dermoscopy.py --json")
    cli.add_argument("--plot", type=Path, default=None, help="PNG to write")
    cli.add_argument("--quick", action="store_true", help="one seed, 2 rounds, 150 images a hospital: no figure to quote")
    cli.add_argument("--json", action="store_true", help="one JSON object as the last line")
    cli.add_argument("--unit", default="", help=argparse.SUPPRESS)
    args = cli.parse_args()
    seeds = [1] if args.quick else [int(seed) for seed in args.seeds.split(",")]
    rounds = args.rounds or (2 if args.quick else None)
    variant = Variant(rounds, tuple(args.change), args.held_out, args.quick)
    if args.unit:
        keep(make_unit(args.mechanism, float(args.unit), seeds[0], args.work, variant))
        return
    console = Console(stderr=True)
    if not (args.data / "to_dicom.py").exists():
        console.print("No dermoscopy images here. Name the folder with to_dicom.py by --data.")
        sys.exit(2)
    with tempfile.TemporaryDirectory() as temporary:
        work = (args.work or Path(temporary)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        with console.status("importing four hospitals"):
            prepare(work, args.data, 150 if args.quick else None)
        units = {
            (mechanism, epsilon, seed): make_unit(mechanism, epsilon, seed, work, variant)
            for seed in seeds
            for mechanism in (PLANS if args.mechanism == "both" else [args.mechanism])
            for epsilon in map(float, args.epsilons.split(","))
        }
        run_units(list(units.values()), 1 if args.quick else args.jobs, console, __file__)
        results: dict[tuple[str, float], list[Result]] = {}
        for (mechanism, epsilon, _), unit in units.items():
            results.setdefault((mechanism, epsilon), []).append(json.loads(unit.file.read_text()))
    rows, reference = summarise(results), read_reference(args.reference)
    show(rows, reference, seeds, variant.part, console)
    if args.plot:
        plot(rows, reference, args.plot)
    if args.json:
        print(json.dumps({"benchmark": "dp_utility", "quick": args.quick, "part": variant.part, "seeds": seeds, "rows": rows}))


if __name__ == "__main__":
    main()
