"""What of the audit may be shown: no number of 1 to smallest_cell - 1 images or patients, nor anything that gives one away.

Cells are the positives and the negatives of each group, and at each operating point those called and those not. A group with a
small cell is withheld altogether for that class; at an operating point sensitivity (positives) and specificity (negatives) are
withheld singly. Then others follow as far as sums over groups would give a small cell away (evaluation.audit.protection), and
two operating points so near each other that few cases lie between them count as one.

Counts under privacy are safe as they are: nothing is withheld here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from evaluation.audit.edges import Edges, threshold_index
from evaluation.audit.layout import AuditLayout, Counts
from evaluation.audit.protection import Flags, Relation, Table, withheld

Floats = NDArray[np.float64]
_MOST_ALIKE = 9  # images of a patient up to which the number of patients is sharpened


@dataclass(frozen=True, eq=False)
class Release:
    """May a group be shown (classes, groups), is it small itself, may its rates be shown (classes, points, 2, groups)?"""

    groups: Flags
    small: Flags
    rates: Flags


def released(layout: AuditLayout, edges: Sequence[Edges], summed: NDArray[np.signedinteger]) -> Release:
    """What may be shown of the sum (layout.size,) of the hospitals' vectors."""
    counts, sizes = layout.split(summed)
    n_groups, points = len(layout.groups), layout.audit.operating_points
    if sizes is None:
        everything = np.ones((layout.n_classes, n_groups), dtype=np.bool_)
        return Release(everything, ~everything, np.ones((layout.n_classes, len(points), 2, n_groups), dtype=np.bool_))
    shape = _Shape(layout)
    hidden, small = shape.groups(counts.sum(axis=3), sizes[..., 0])
    rates = np.zeros((layout.n_classes, len(points), 2, n_groups), dtype=np.bool_)
    for index, inner in enumerate(edges):
        marks = [threshold_index(inner, point) + 1 for point in points]
        for label in (0, 1):
            called = np.stack([counts[index, :, label, mark:].sum(axis=1) for mark in marks], axis=1)
            rates[index, :, label] = ~shape.rates(
                called, counts[index, :, label].sum(axis=1), sizes[index, :, label], hidden[index]
            )
    return Release(~hidden, small, rates)


def least_patients(cases: Counts, images: Counts, patients: Counts, squares: Counts) -> Counts:
    """Of how many patients `cases` (...) of a group's `images` are at least, given its patients and sum of squared images.

    If j patients have c of the n images of k patients, the sum of squares is c^2 / j + (n - c)^2 / (k - j) at least. And for
    every whole r no patient's (m - r)(m - r - 1) is negative, m being the patient's images, so that those of the j patients are
    no more than the sum over all, which is known; it is 0 where all have r or r + 1 images. Where each patient has one image
    the answer is c itself, where each has one or two c / 2.
    """
    c, n, k, s = (np.asarray(one, dtype=np.float64) for one in (cases, images, patients, squares))
    least = [_smaller_root(s, s * k + c**2 - (n - c) ** 2, k * c**2)]
    least += [
        _smaller_root(r * (r + 1.0) + 0.0 * s, (2.0 * r + 1.0) * (c - n) + s + r * (r + 1.0) * k, c**2)
        for r in range(_MOST_ALIKE)
    ]
    rounded = np.ceil(np.maximum.reduce(least) - 0.01)  # far above the rounding error, far below one patient
    found = np.where(c >= n, k, np.maximum.reduce([rounded, np.minimum(c, 1.0), k - (n - c)]))
    return np.where(c > 0, found, 0.0).astype(np.int64)


def _smaller_root(a: Floats, b: Floats, c: Floats) -> Floats:
    """The smaller root of a x^2 - b x + c for a, b, c >= 0; c / b where a is 0, and 0 where there is none."""
    root = np.sqrt(np.maximum(b**2 - 4.0 * a * c, 0.0))
    smaller: Floats = np.divide(2.0 * c, b + root, out=np.zeros_like(b), where=b + root > 0)
    return smaller


class _Shape:
    """How the groups of a layout are sums of each other."""

    def __init__(self, layout: AuditLayout) -> None:
        self.n, self.n_classes, self.k = len(layout.groups), layout.n_classes, layout.audit.smallest_cell
        self.sums, self.margins = _relations(layout)

    def groups(self, images: Counts, patients: Counts) -> tuple[Flags, Flags]:
        """What is withheld and what of it is small, (classes, groups); images and patients (classes, groups, 2).

        One class: the table of groups. Several: they share their images, so each class's positives of a group are a part of the
        group's images, which are known as soon as the group is shown for any class.
        """
        if self.n_classes == 1:
            hidden, small = withheld(self._table(images[0], patients[0], patients[0]))
            return hidden[None, : self.n], small[None, : self.n]
        whole = images[0].sum(axis=1)[:, None] * np.array([1, 0])
        people = patients.max(axis=(0, 2))[:, None] * np.array([1, 0])
        tables = [*(self._table(a, b, b) for a, b in zip(images, patients, strict=True)), self._table(whole, people, None)]
        each = self.n + len(self.margins)
        starts = [place * each for place in range(len(tables))]
        relations = [
            Relation(one.whole + start, tuple(part + start for part in one.parts), one.straddling)
            for start, table in zip(starts, tables, strict=True)
            for one in table.relations
        ]
        of_class = [tuple(group + start for start in starts[:-1]) for group in range(each)]
        relations += [Relation(group + starts[-1], parts) for group, parts in enumerate(of_class)]
        table = Table(
            np.concatenate([one.images for one in tables]),
            np.concatenate([one.people for one in tables]),
            tuple(relations),
            self.k,
            follows=tuple((group + starts[-1], of_class[group]) for group in range(self.n)),
            outside=frozenset(item + start for start in starts for item in range(self.n, each)),
        )
        hidden, small = (one.reshape(len(tables), each)[:-1, : self.n] for one in withheld(table))
        return hidden, small

    def rates(self, called: Counts, images: Counts, sizes: Counts, hidden: Flags) -> Flags:
        """Whether the cases of one label that are called at each operating point are withheld, (points, groups).

        `called` (groups, points), `images` (groups,), `sizes` (groups, 2) of that label; `hidden` (groups,) is withheld anyhow.
        """
        found = np.zeros((called.shape[1], len(images)), dtype=np.bool_)
        for point in range(called.shape[1]):
            here = called[:, point]
            between = [called[:, before] - here for before in range(point)]
            cells = np.stack([here, images - here, *between], axis=1)
            people = least_patients(cells, images[:, None], sizes[:, :1], sizes[:, 1:])
            also = np.concatenate([hidden, np.zeros(len(self.margins), dtype=np.bool_)])
            found[point] = withheld(self._table(cells, people, sizes[:, :1].repeat(cells.shape[1], axis=1)), also)[0][: self.n]
        return found

    def _table(self, images: Counts, people: Counts, patients: Counts | None) -> Table:
        """The table of the groups, and behind them the margins that no group is. All (groups, cells).

        `people` are as many patients as a cell has at least; from `patients`, exact ones of groups, follows how many straddle.
        """
        more_images = [images[list(parts)].sum(axis=0) for parts in self.margins]
        more_people = [people[list(parts)].max(axis=0) for parts in self.margins]
        return Table(
            np.array([*images, *more_images]),
            np.array([*people, *more_people]),
            tuple(self._straddled(one, patients) for one in self.sums),
            self.k,
            outside=frozenset(range(self.n, self.n + len(self.margins))),
        )

    def _straddled(self, one: Relation, patients: Counts | None) -> Relation:
        if patients is None or one.whole >= self.n:
            return one
        more = patients[list(one.parts)].sum(axis=0) - patients[one.whole]
        return Relation(one.whole, one.parts, tuple(more.tolist()))


def _relations(layout: AuditLayout) -> tuple[tuple[Relation, ...], list[tuple[int, ...]]]:
    """Every family adds up to everyone, every intersection to its margins. Also the margins that two intersections share but no
    group is: their parts."""
    families: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {}
    for index, group in enumerate(layout.groups):
        if group.pairs:
            names, values = zip(*sorted(group.pairs), strict=True)
            families.setdefault(names, {})[values] = index
    sites = tuple(index for index, group in enumerate(layout.groups) if group.site is not None)
    relations = [Relation(0, tuple(members.values())) for members in families.values()] + (
        [Relation(0, sites)] if sites else []
    )
    margins: list[tuple[int, ...]] = []
    place: dict[tuple[tuple[str, ...], tuple[str, ...]], int] = {}
    for names, members in families.items():
        for some in (part for size in range(1, len(names)) for part in combinations(names, size)):
            if some not in families and sum(set(some) < set(other) for other in families) < 2:
                continue
            positions = [names.index(name) for name in some]
            parts: dict[tuple[str, ...], list[int]] = {}
            for values, index in members.items():
                parts.setdefault(tuple(values[position] for position in positions), []).append(index)
            for values, inside in parts.items():
                if some in families:
                    whole = families[some][values]
                elif (some, values) in place:
                    whole = place[some, values]
                else:
                    whole = place[some, values] = len(layout.groups) + len(margins)
                    margins.append(tuple(inside))
                relations.append(Relation(whole, tuple(inside)))
    return tuple(relations), margins
