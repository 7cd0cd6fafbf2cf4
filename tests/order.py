"""In which order tests run: the long ones first, and not all of them at one worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TypeVar

T = TypeVar("T")


def dealt(items: Sequence[T], seconds: Callable[[T], float], module: Callable[[T], str], workers: int) -> list[T]:
    """`items` so that each of `workers` gets its share of the long ones, first of all.

    pytest-xdist gives each worker one unbroken part of the list, all equally many. Long tests of one module stay together: they
    share what their fixtures made. `seconds` is 0 for a test that is not long.
    """
    long = [item for item in items if seconds(item) > 0]
    short = [item for item in items if seconds(item) <= 0]
    groups = [list(group) for _, group in groupby(long, key=module)]
    piles: list[list[T]] = [[] for _ in range(workers)]
    taken = [0.0] * workers
    for group in sorted(groups, key=lambda group: sum(map(seconds, group)), reverse=True):
        least = taken.index(min(taken))
        piles[least] += group
        taken[least] += sum(map(seconds, group))
    order: list[T] = []
    for number, pile in enumerate(piles):
        room = (len(items) - len(order)) // (workers - number) - len(pile)
        later = sum(map(len, piles[number + 1 :]))
        room = max(0, min(room, len(items) - len(order) - len(pile) - later))
        order += pile + short[:room]
        short = short[room:]
    return order + short
