"""What dp_utility_digits.py found, beside what the simulation foretold: cells, orders, the table."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dp_utility_digits_rounds import DELTA, Row
from rich.console import Console
from rich.table import Table

CLOSE = 0.01  # accuracies nearer than this are not told apart

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
