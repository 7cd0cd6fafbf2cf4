"""Which cells of a table must be withheld so that no small one can be worked out from the others.

A cell of 1 to k - 1 cases is withheld, and so are others, as long as

- a relation (a whole is the sum of its parts) would give away a single part, or parts that are together 1 to k - 1 cases, or
- the relations together determine a small cell, which elimination finds: it is determined if no solution of what is left
  unknown moves it.

The smallest parts go first, so that least is lost. Whoever is on the outside knows the wholes, the parts that are shown and
that what is not shown may be small.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Relation:
    """The cases of item `whole` are those of the items `parts` together, each once.

    `straddling`: for each cell, how many patients more the parts have together than there are, as the images of one patient may
    be in several parts; None where that is not known.
    """

    whole: int
    parts: tuple[int, ...]
    straddling: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Table:
    """Items (n,), each with the same few cells. `images` (n, cells) cases, `people` (n, cells) patients they are at least of.

    `follows` names items that are withheld exactly if all of the items behind them are. `outside`: items that are never
    shown, but that relations have in common.
    """

    images: NDArray[np.int64]
    people: NDArray[np.int64]
    relations: tuple[Relation, ...]
    k: int
    follows: tuple[tuple[int, tuple[int, ...]], ...] = ()
    outside: frozenset[int] = frozenset()

    def small(self, items: Iterable[int], straddling: tuple[int, ...] | None = None) -> bool:
        """Whether `items` together have a cell of 1 to k - 1 images, or of patients by what is known of them."""
        rows = sorted(items)
        images, people = self.images[rows].sum(axis=0), self.people[rows].max(axis=0)
        if straddling is not None:
            people = np.maximum(people, self.people[rows].sum(axis=0) - np.array(straddling))
        return bool(((images > 0) & ((images < self.k) | (people < self.k))).any())


def withheld(table: Table, also: Flags | None = None) -> tuple[Flags, Flags]:
    """(what is not shown, what of it is small) of a table, (n,) each. `also` (n,): what is not shown for another reason."""
    n = len(table.images)
    small = np.array([table.small([item]) for item in range(n)], dtype=np.bool_)
    fixed = {item for item, _ in table.follows} | table.outside
    hidden = small.copy() if also is None else small | also
    hidden[list(table.outside)] = True
    if not hidden.any():
        return hidden, small
    while True:
        for item, behind in table.follows:
            hidden[item] = bool(hidden[list(behind)].all())
        told = _told(table, hidden, fixed)
        if told is None:
            told = _determined(table, hidden, small, fixed)
        if told is None:
            return hidden, small
        hidden[told] = True


def _told(table: Table, hidden: Flags, fixed: set[int]) -> int | None:
    """The next item to withhold because of a single relation."""
    for relation in table.relations:
        unknown = [part for part in relation.parts if hidden[part]]
        if hidden[relation.whole]:
            if unknown or relation.whole in table.outside or not table.small([relation.whole]):
                continue
        elif not unknown or not table.small(unknown, relation.straddling):
            continue
        found = _smallest(table, hidden, fixed, relation.parts)
        if found is not None:
            return found
    return None


def _determined(table: Table, hidden: Flags, small: Flags, fixed: set[int]) -> int | None:
    """The next item to withhold because all relations together determine a small one."""
    given_away = [item for item in determined(table.relations, hidden) if small[item]]
    reach = set(given_away)
    while given_away:
        near = [one for one in table.relations if reach & {one.whole, *one.parts}]
        members = [item for one in near for item in (*one.parts, one.whole)]
        found = _smallest(table, hidden, fixed, members)
        if found is not None:
            return found
        if reach >= set(members):
            return None  # nothing is left to withhold
        reach |= set(members)
    return None


def determined(relations: Sequence[Relation], hidden: Flags) -> list[int]:
    """Those of the hidden items (n,) whose value follows from the relations and the items that are shown."""
    unknown = np.flatnonzero(hidden)
    place = {int(item): column for column, item in enumerate(unknown)}
    rows = np.zeros((len(relations), len(unknown)))
    for row, one in zip(rows, relations, strict=True):
        if one.whole in place:
            row[place[one.whole]] -= 1.0
        for part in one.parts:
            if part in place:
                row[place[part]] += 1.0
    rows = rows[rows.any(axis=1)]
    if not rows.size:
        return []
    # An item is determined if its unit vector lies in the space of the rows: the projection on that space keeps it whole.
    _, values, right = np.linalg.svd(rows, full_matrices=False)
    basis = right[values > 1e-9 * values[0]]
    kept = (basis**2).sum(axis=0)
    return [int(item) for item in unknown[kept > 1.0 - 1e-9]]


def _smallest(table: Table, hidden: Flags, fixed: set[int], among: Iterable[int]) -> int | None:
    """Of the items that can be withheld the one with the fewest cases; an empty one hides nothing."""
    sizes = table.images.sum(axis=1)
    open_ = [item for item in among if not hidden[item] and item not in fixed and sizes[item] > 0]
    return min(open_, key=lambda item: (sizes[item], item), default=None)
