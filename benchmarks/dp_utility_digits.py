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
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aggregator.mean import WeightedMean
from aggregator.strategies import State, build_strategy
from privacy.clipping import SCALE, PatientSum
from privacy.guarantee import guarantee_of
from privacy.noise import discrete_gaussian
from privacy.randomness import SecureBits, sample_patients
from privacy.secure_aggregation.masking import Unsigned, dtype_of
from privacy.secure_aggregation.payload import mean_of, wrapped
from privacy.secure_aggregation.sizing import noise_share, sizing
from protocol.plan import Plan
from protocol.secure_aggregation import SCHEMA, Manifest
from protocol.vectors import Vector
from silo_node.training.objective import proximal_step
from silo_node.training.optimiser import build_optimiser

INPUTS, HIDDEN, CLASSES = 64, 32, 10
SHAPES = ((INPUTS, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,))
SIZES = [int(np.prod(shape)) for shape in SHAPES]
SIZE = sum(SIZES)
DELTA, CLIP_NORM, SKEW = 1e-5, 1.0, 0.5
CLOSE = 0.01  # accuracies nearer than this are not told apart
SIMULATED, FEDWARD = "simulated", "fedward"

Key = tuple[float, int]  # epsilon, hospitals
REFERENCE: dict[str, dict[Key, float]] = {
    name: dict(zip([(2.0, 4), (2.0, 10), (8.0, 4), (8.0, 10)], accuracies, strict=False))
    for name, accuracies in {
        "distributed": (0.917, 0.931, 0.948, 0.957),
        "local, 1 step": (0.874, 0.837, 0.934, 0.925),
        "local, 5 steps, FedAvg": (0.896, 0.793, 0.943, 0.923),
        "local, 5 steps, FedProx": (0.896, 0.792, 0.942, 0.921),
        "distributed, sampling full": (0.929, 0.927),
    }.items()
}
"""Test accuracy in the simulation, mean of five seeds; sampling full is known at epsilon 2 only."""


@dataclass(frozen=True)
class Row:
    """One way to spend epsilon."""

    name: str
    arrangements: tuple[str, ...]
    rates: tuple[float, ...]
    local_steps: int = 1
    mu: float = 0.0
    sampling_rate: float = 0.1
    steps: int = 300

    @property
    def mechanism(self) -> str:
        """local or distributed."""
        return self.name.split(",")[0]

    @property
    def simulated(self) -> bool:
        """Whether it is what the simulation did and fedward does not."""
        return FEDWARD not in self.arrangements


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

# ----------------------------------------------------------------------------------------------------------- the hospitals


@dataclass(frozen=True)
class Images:
    """Images (n, 64), 0 to 1, and labels (n,)."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, which: Any) -> Images:
        return Images(self.pixels[which], self.labels[which])


def hospitals(silos: int, seed: int) -> tuple[list[Images], Images]:
    """Four fifths of the digits, each class dealt to the hospitals in shares of Dirichlet(0.5); and the rest, for testing."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=seed, stratify=labels)
    everything = Images(torch.tensor(pixels / 16.0, dtype=torch.float32), torch.tensor(labels))
    rng, dealt = np.random.default_rng(seed), [[] for _ in range(silos)]
    for label in range(CLASSES):
        of_class = train[labels[train] == label]
        rng.shuffle(of_class)
        cuts = (np.cumsum(rng.dirichlet([SKEW] * silos))[:-1] * len(of_class)).astype(int)
        for mine, part in zip(dealt, np.split(of_class, cuts), strict=True):
            mine.extend(part.tolist())
    return [everything[mine] for mine in dealt], everything[test]


def first_weights(seed: int) -> Vector:
    """Small and public."""
    weights: Vector = (0.1 * torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))).numpy()
    return weights


def _layers(weights: torch.Tensor) -> list[torch.Tensor]:
    return [part.view(shape) for part, shape in zip(weights.split(SIZES), SHAPES, strict=True)]


def gradients(weights: torch.Tensor, images: Images) -> torch.Tensor:
    """Each image's own gradient of the cross-entropy, shape (n, SIZE)."""
    first, bias, second, last = _layers(weights)
    hidden = torch.tanh(images.pixels @ first + bias)
    of_logits = (hidden @ second + last).softmax(1) - functional.one_hot(images.labels, CLASSES)
    of_hidden = (of_logits @ second.T) * (1.0 - hidden * hidden)
    outer = [(a[:, :, None] * b[:, None, :]).flatten(1) for a, b in ((images.pixels, of_hidden), (hidden, of_logits))]
    return torch.cat([outer[0], of_hidden, outer[1], of_logits], 1)


def accuracy(weights: Vector, images: Images) -> float:
    """Share of images whose largest logit is the right one."""
    first, bias, second, last = _layers(torch.from_numpy(weights))
    found = (torch.tanh(images.pixels @ first + bias) @ second + last).argmax(1)
    return float((found == images.labels).double().mean())


# ------------------------------------------------------------------------------------------------------------- the rounds


def plan_of(row: Row, silos: int, epsilon: float, rate: float, patients: int) -> Plan:
    """The plan whose noise, sizes and steps are used. Its network is not: no plan can name one so small."""
    server = {"name": "FedProx" if row.mu else "FedAvg"} if row.local_steps > 1 else {"name": "FedAvgM", "momentum": 0.9}
    everybody, rounds = row.sampling_rate == 1.0, row.steps // row.local_steps
    privacy = {
        "mechanism": row.mechanism,
        "epsilon": epsilon,
        "delta": DELTA,
        "clip_norm": CLIP_NORM,
        "sampling": "full" if everybody else "poisson",
        "sampling_rate": row.sampling_rate,
        "batch_patients": round(row.sampling_rate * patients / silos),
        "metrics_epsilon": min(0.3, epsilon / 2.0),
        "width_bits": 64 if everybody else 32,  # 1,437 patients who all agree do not fit into 32 bits
    }
    value = {
        "schema": "fedward.plan/1",
        "name": "digits",
        "task": {"kind": "classification", "target": "digit", "classes": [str(digit) for digit in range(CLASSES)]},
        "data": {
            "channels": 1,
            "preprocessing": [
                {"name": "Resize", "args": {"spatial_size": [8, 8]}},
                {"name": "NormalizeIntensity", "args": {"subtrahend": 0.0, "divisor": 1.0}},
            ],
        },
        "network": {"name": "Classifier", "args": {"in_shape": [1, 8, 8], "classes": CLASSES, "channels": [4], "strides": [2]}},
        "training": {"mu": row.mu, "local_steps": row.local_steps, "optimizer": {"name": "SGD", "lr": rate, "momentum": 0.0}},
        "federation": {
            "rounds": rounds,
            "strategy": server,
            "weighting": "uniform",
            "quorum": silos,
            "average_last": max(1, rounds // 10),
        },
        "evaluation": {"alone": False, "every": rounds},
        "privacy": privacy,
    }
    return Plan.model_validate_json(json.dumps(value))


def share_of(row: Row, plan: Plan, noise: float, silos: int) -> float:
    """Standard deviation of one hospital's noise under mechanism distributed, in clip norms."""
    if row.simulated:
        return noise / silos**0.5
    wanted = sizing(plan, silos)
    needed = (wanted.threshold, wanted.min_survivors, wanted.colluders, SIZE, wanted.width_bits)
    return noise_share(noise, Manifest(SCHEMA, plan.name, plan.digest, (), *needed))


def clipped(plan: Plan, weights: torch.Tensor, site: Images, bits: SecureBits) -> PatientSum:
    """A Poisson sample of one hospital's patients, each clipped: as PrivateStep.sum."""
    total = PatientSum(SIZE, plan.privacy.clip_norm)
    for gradient in gradients(weights, site[torch.from_numpy(sample_patients(len(site), plan.privacy.rate, bits))]):
        total.add([gradient])
    return total


def opened_sum(plan: Plan, share: float, model: Vector, sites: Sequence[Images], bits: SecureBits) -> Any:
    """What secure aggregation opens, signed, shape (SIZE,): each hospital's clipped sum and its share of the noise."""
    width, weights = plan.privacy.width_bits, torch.from_numpy(model)
    total: Unsigned = np.zeros(SIZE, dtype=dtype_of(width))
    for site in sites:
        integers = clipped(plan, weights, site, bits).integers()
        integers += discrete_gaussian(SIZE, share * SCALE, bits)
        total += wrapped(integers, width)
    return total.view(f"<i{width // 8}")


def local_update(plan: Plan, noise: float, divisor: float, model: Vector, site: Images, bits: SecureBits) -> Vector:
    """What one hospital sends under mechanism local: its private steps of one round, as PrivateTrainer.round makes them."""
    weights = torch.nn.Parameter(torch.from_numpy(model.copy()))
    anchor, training = [torch.from_numpy(model)], plan.training
    optimiser = build_optimiser(training.optimizer, [weights], 1.0)
    for _ in range(training.local_steps or 1):
        weights.grad = clipped(plan, weights.detach(), site, bits).noised(noise, bits) / divisor
        optimiser.step()
        if training.mu > 0.0:
            proximal_step([weights], anchor, training.mu * training.optimizer.lr)
    update: Vector = weights.detach().numpy() - model
    return update


def train(row: Row, plan: Plan, noise: float, sites: Sequence[Images], seed: int) -> Vector:
    """The mean of the last global models of a whole job, shape (SIZE,)."""
    bits, strategy, model = SecureBits(), build_strategy(plan.federation.strategy), first_weights(seed)
    state: State = {}
    names, last, privacy = [str(number) for number in range(len(sites))], WeightedMean(SIZE), plan.privacy
    share = share_of(row, plan, noise, len(sites)) if row.mechanism == "distributed" else 0.0
    for number in range(plan.federation.rounds):
        if row.mechanism == "distributed":
            opened = opened_sum(plan, share, model, sites, bits)
            update, _ = mean_of(plan, opened, names, len(sites), 1.0)
        else:
            mean = WeightedMean(SIZE)
            for site in sites:
                divisor = max(1.0, privacy.rate * len(site)) if row.simulated else privacy.batch_patients
                mean.add(local_update(plan, noise, divisor, model, site, bits), len(site) if row.simulated else 1.0)
            update = mean.result()
        model, state = strategy(model, update, state)
        if number >= plan.federation.rounds - plan.federation.average_last:
            last.add(model, 1.0)
    return last.result()


# ------------------------------------------------------------------------------------------------------------ the figures


@dataclass(frozen=True)
class Cell:
    """One row at one epsilon and number of hospitals; `by_seed` at the best rate."""

    row: Row
    key: Key
    noise: float
    rate: float
    by_seed: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.mean(self.by_seed)

    @property
    def reference(self) -> float | None:
        """The simulation's accuracy."""
        return REFERENCE[self.row.name].get(self.key)

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.row.name} (epsilon {self.key[0]:g}, {self.key[1]} hospitals)"

    def as_json(self) -> dict[str, Any]:
        """JSON types."""
        (epsilon, silos), row = self.key, self.row
        return {
            "row": row.name,
            "arrangements": row.arrangements,
            "epsilon": epsilon,
            "silos": silos,
            "noise_multiplier": self.noise,
            "rate": self.rate,
            "by_seed": [round(value, 4) for value in self.by_seed],
            "accuracy": round(self.mean, 4),
            "reference": self.reference,
        }


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


@dataclass(frozen=True)
class Order:
    """Two cells that the reference tells apart, `above` being better there, and our difference with its standard error."""

    above: Cell
    below: Cell

    @property
    def differences(self) -> list[float]:
        """Seed by seed: both have the same training and test images."""
        return [a - b for a, b in zip(self.above.by_seed, self.below.by_seed, strict=True)]

    @property
    def kept(self) -> bool:
        """Whether it is the same here."""
        return statistics.mean(self.differences) > 0.0

    def as_json(self) -> dict[str, Any]:
        """JSON types."""
        found = self.differences
        error = statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else None
        return {
            "above": self.above.label,
            "below": self.below.label,
            "reference": round((self.above.reference or 0.0) - (self.below.reference or 0.0), 4),
            "measured": round(statistics.mean(found), 4),
            "standard_error": None if error is None else round(error, 4),
        }


def orders(cells: Sequence[Cell], arrangement: str) -> list[Order]:
    """Every pair of an arrangement's cells that differ by more than 0.01 in the reference."""
    known = [cell for cell in cells if arrangement in cell.row.arrangements and cell.reference is not None]
    pairs = [(a, b, (a.reference or 0.0) - (b.reference or 0.0)) for a, b in itertools.combinations(known, 2)]
    return [Order(*((a, b) if gap > 0 else (b, a))) for a, b, gap in pairs if abs(gap) > CLOSE + 1e-9]


def verdict(cells: Sequence[Cell], arrangement: str) -> dict[str, Any]:
    """How much of the reference's order is found again: over all pairs of cells, and over pairs in one column."""
    found = orders(cells, arrangement)
    columns = [order for order in found if order.above.key == order.below.key]
    known = [cell for cell in cells if arrangement in cell.row.arrangements and cell.reference is not None]
    off = [cell.label for cell in known if abs(cell.mean - (cell.reference or 0.0)) > CLOSE]
    return {
        "pairs": len(found),
        "kept": sum(order.kept for order in found),
        "column_pairs": len(columns),
        "column_kept": sum(order.kept for order in columns),
        "not_kept": [order.as_json() for order in found if not order.kept],
        "cells": len(known),
        "off": off,
    }


def show(cells: Sequence[Cell], verdicts: Mapping[str, dict[str, Any]], console: Console) -> None:
    """The table people read."""
    keys, rows = list(dict.fromkeys(cell.key for cell in cells)), list(dict.fromkeys(cell.row for cell in cells))
    caption = f"In brackets the simulation's accuracy; * more than {CLOSE} off it."
    table = Table(title=f"Test accuracy on digits, delta {DELTA:g}, mean over seeds and their deviation", caption=caption)
    for column in ("mechanism", "arrangement"):
        table.add_column(column, no_wrap=True)
    for epsilon, silos in keys:
        table.add_column(f"epsilon {epsilon:g}, {silos} hospitals", justify="right", min_width=19)
    for row in rows:
        found = {cell.key: cell for cell in cells if cell.row == row}
        table.add_row(row.name, " = ".join(row.arrangements), *(_text(found[key]) for key in keys if key in found))
    console.print(table)
    for arrangement, one in verdicts.items():
        console.print(
            f"{arrangement}: {one['kept']} of {one['pairs']} orders kept, {one['column_kept']} of {one['column_pairs']} within "
            f"a column; {len(one['off'])} of {one['cells']} cells more than {CLOSE} off the simulation."
        )
        for order in one["not_kept"]:
            error = "" if order["standard_error"] is None else f" +- {order['standard_error']:.3f}"
            console.print(f"  not kept: {order['above']} above {order['below']}: {order['measured']:+.3f}{error}")


def _text(cell: Cell) -> str:
    spread = f" ±{statistics.stdev(cell.by_seed):.3f}" if len(cell.by_seed) > 1 else ""
    known = cell.reference
    beside = "" if known is None else f" ({known:.3f}{'*' if abs(cell.mean - known) > CLOSE else ''})"
    return f"{cell.mean:.3f}{spread}{beside}"


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
