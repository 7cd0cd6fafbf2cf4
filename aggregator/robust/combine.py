"""From the updates of a round, as they come, to one vector: one class for each way to hold them in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from aggregator.mean import WeightedMean
from aggregator.robust.rules import Values, krum, median, squared_distances, trimmed_mean
from aggregator.robust.stack import Rows, Stack
from protocol.plan.aggregation import Aggregation, Krum, Mean, TrimmedMean
from protocol.vectors import Vector


@dataclass(frozen=True)
class Combined:
    """The round's one update of shape (size,), and what each silo that entered it weighed."""

    update: Vector
    weights: Mapping[str, float]


class Combiner(Protocol):
    """Takes in updates of finite values in any order; `result` does not depend on which came first, but for rounding."""

    def add(self, silo: str, vector: Vector, weight: float) -> None:
        """Take in one silo's update. Raises UpdateError if it cannot be used."""

    def result(self) -> Combined:
        """Called once, when at least the plan's quorum came. Raises UpdateError if nothing can be made of them."""


def build_combiner(aggregation: Aggregation, silos: tuple[str, ...], size: int) -> Combiner:
    """The combiner of a plan, for one round of `silos` and updates of `size` values."""
    if isinstance(aggregation, Mean):
        return _Streamed(size)
    if isinstance(aggregation, Krum):
        return _Nearest(silos, size, aggregation)
    rule: Callable[[Rows], Values] = median
    if isinstance(aggregation, TrimmedMean):
        rule = partial(trimmed_mean, trim=aggregation.trim)
    return _Ordered(silos, size, rule)


class _Streamed:
    """The weighted mean: one vector in memory."""

    def __init__(self, size: int) -> None:
        self._mean = WeightedMean(size)
        self._weights: dict[str, float] = {}

    def add(self, silo: str, vector: Vector, weight: float) -> None:
        self._mean.add(vector, weight)
        self._weights[silo] = weight

    def result(self) -> Combined:
        return Combined(self._mean.result(), self._weights)


class _Ordered:
    """A rule on single coordinates: every silo has a say in each, so all entered."""

    def __init__(self, silos: tuple[str, ...], size: int, rule: Callable[[Rows], Values]) -> None:
        self._stack, self._rule = Stack(silos, size), rule

    def add(self, silo: str, vector: Vector, weight: float) -> None:  # noqa: ARG002 - every silo counts once
        self._stack.add(silo, vector)

    def result(self) -> Combined:
        return Combined(self._stack.reduce(self._rule), dict.fromkeys(self._stack.silos, 1.0))


class _Nearest:
    """Krum: whole updates are chosen, the others do not enter."""

    def __init__(self, silos: tuple[str, ...], size: int, settings: Krum) -> None:
        self._stack, self._settings = Stack(silos, size), settings

    def add(self, silo: str, vector: Vector, weight: float) -> None:  # noqa: ARG002 - every silo counts once
        self._stack.add(silo, vector)

    def result(self) -> Combined:
        silos = self._stack.silos
        distances = squared_distances((rows for _, rows in self._stack.blocks()), len(silos))
        chosen = krum(distances, self._settings.byzantine, self._settings.keep)
        update = self._stack.reduce(lambda rows: np.mean(rows[chosen], axis=0))
        return Combined(update, {silos[row]: 1.0 for row in chosen})
