"""Which private mechanism learns more from the same epsilon? Handwritten digits, one image a patient, 4 and 10 hospitals.

    python benchmarks/dp_utility_digits.py                  epsilon 2 and 8, five seeds, best of three rates: 20 CPU minutes
    python benchmarks/dp_utility_digits.py --quick --json   under a minute: one seed, a fifth of the steps - only that it runs

Before fedward had the mechanisms, a simulation with float noise said what to expect of each; its test accuracies are REFERENCE.
Here the same is measured with fedward's own parts: the noise a plan calibrates, patients drawn by the operating system, clipped
integer sums, discrete Gaussian noise, a sum modulo 2^32, the server's strategy. Two things are not as in a run: the gradients
of the small network (2,410 values, 64-32-10, tanh) are written out instead of found by autograd, and no masks are added, as
they cancel exactly: the opened sum holds the same integers without them.

There are two arrangements, because the simulation left some of the work out:

    simulated   each share of the noise is 1/sqrt(hospitals) of it: nobody drops out, nobody colludes. A local update is divided
                by and weighted with the hospital's number of patients, as if that were public
    fedward     a share is what privacy.secure_aggregation.sizing says with every hospital needed and up to a third colluding:
                the sum holds more noise than epsilon asks for. One public divisor, equal weights: no hospital's size leaves it

A hospital holds a Dirichlet(0.5) share of each digit. Splits and first weights follow the seed and are the same in every row;
the patients drawn and the noise cannot be seeded, so figures move a little from run to run. The best rate is the best on the
test images, as in the simulation: read the differences, not the levels. The model is the mean of the last tenth of the rounds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dp_utility_digits_figures import Cell, Key, show, verdict
from dp_utility_digits_hospitals import accuracy, hospitals
from dp_utility_digits_rounds import FEDWARD, SIMULATED, Row, plan_of, train

from privacy.guarantee import guarantee_of

_SHARED, _ONE, _FIVE = (0.1, 0.3, 0.6), (0.03, 0.1, 0.3), (0.1, 0.4, 1.0)
ROWS = (
    Row("distributed", (SIMULATED,), _SHARED),
    Row("distributed", (FEDWARD,), _SHARED),
    Row("distributed, sampling full", (SIMULATED,), _SHARED, sampling_rate=1.0, steps=60),
    Row("distributed, sampling full", (FEDWARD,), _SHARED, sampling_rate=1.0, steps=60),
    Row("local, 1 step", (SIMULATED, FEDWARD), _ONE),  # dividing by and weighting with a size cancel in a single step
    Row("local, 5 steps, FedAvg", (SIMULATED,), _FIVE, local_steps=5),
    Row("local, 5 steps, FedAvg", (FEDWARD,), _FIVE, local_steps=5),
    Row("local, 5 steps, FedProx", (SIMULATED,), _FIVE, local_steps=5, mu=0.1),
    Row("local, 5 steps, FedProx", (FEDWARD,), _FIVE, local_steps=5, mu=0.1),
)


def measure(row: Row, key: Key, seeds: Sequence[int]) -> Iterator[Cell]:
    """One cell for each rate."""
    epsilon, silos = key
    data = {seed: hospitals(silos, seed) for seed in seeds}
    patients = sum(map(len, data[seeds[0]][0]))
    noise = guarantee_of(plan_of(row, silos, epsilon, row.rates[0], patients)).noise_multiplier
    for rate in row.rates:
        plan = plan_of(row, silos, epsilon, rate, patients)
        trained = [(train(row, plan, noise, sites, seed), test) for seed, (sites, test) in data.items()]
        yield Cell(row, key, noise, rate, tuple(accuracy(model, test) for model, test in trained))


def main() -> None:
    """Measure every cell, print the table."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--seeds", default="0,1,2,3,4")
    cli.add_argument("--epsilons", default="2,8")
    cli.add_argument("--silos", default="4,10", help="numbers of hospitals, 3 to 50")
    cli.add_argument("--quick", action="store_true", help="one seed, one rate, a fifth of the steps: no figure to quote")
    cli.add_argument("--json", action="store_true", help="one JSON object as the last line")
    args = cli.parse_args()
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in args.seeds.split(",")][: 1 if args.quick else None]
    epsilons = [2.0] if args.quick else [float(epsilon) for epsilon in args.epsilons.split(",")]
    silos = [4] if args.quick else [int(number) for number in args.silos.split(",")]
    console, cells, start = Console(stderr=True), [], time.monotonic()
    console.width = max(console.width, 150)  # also where nobody watches
    rows = [replace(row, steps=row.steps // 5, rates=row.rates[:1]) if args.quick else row for row in ROWS]
    work = list(itertools.product(epsilons, silos, rows))
    with Progress(console=console) as progress:
        task = progress.add_task("training", total=sum(len(row.rates) for *_, row in work))
        for epsilon, number, row in work:
            progress.update(task, description=f"epsilon {epsilon:g}, {number} hospitals, {row.name}")
            tried = []
            for cell in measure(row, (epsilon, number), seeds):
                tried.append(cell)
                progress.advance(task)
            cells.append(max(tried, key=lambda cell: cell.mean))
    verdicts = {} if args.quick else {arrangement: verdict(cells, arrangement) for arrangement in (SIMULATED, FEDWARD)}
    show(cells, verdicts, console)
    if args.json:
        found = {"seeds": seeds, "seconds": round(time.monotonic() - start), "cells": [cell.as_json() for cell in cells]}
        print(json.dumps({"benchmark": "dp_utility_digits", "quick": args.quick, **found, "verdicts": verdicts}))


if __name__ == "__main__":
    main()
