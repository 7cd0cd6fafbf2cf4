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

import numpy as np
from numpy.typing import NDArray

from evaluation.audit.edges import Edges, threshold_index
from evaluation.audit.families import relations_of
from evaluation.audit.inference import segments, worked_out
from evaluation.audit.layout import AuditLayout, Counts
from evaluation.audit.patients import least_patients
from evaluation.audit.protection import Flags, Relation, Table, withheld


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
        cuts = [0, *(threshold_index(inner, point) + 1 for point in points), layout.n_bins]
        below = np.concatenate([np.zeros((n_groups, 2, 1), dtype=np.int64), np.cumsum(counts[index], axis=2)], axis=2)
        at = below[:, :, cuts]  # (groups, 2, points + 2) cases below each operating point, none and all at the ends
        for label in (0, 1):
            rates[index, :, label] = ~shape.rates(at[:, label], sizes[index, :, label], hidden[index])
        shape.close(at, sizes[index], hidden[index], rates[index])
    return Release(~hidden, small, rates)


class _Shape:
    """How the groups of a layout are sums of each other."""

    def __init__(self, layout: AuditLayout) -> None:
        self.n, self.n_classes, self.k = len(layout.groups), layout.n_classes, layout.audit.smallest_cell
        self.sums, self.margins = relations_of(layout)

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

    def rates(self, below: Counts, sizes: Counts, hidden: Flags) -> Flags:
        """Whether the cases of one label that are called at each operating point are withheld, (points, groups).

        `below` (groups, points + 2), `sizes` (groups, 2) of that label; `hidden` (groups,) is withheld anyhow.
        """
        images, found = below[:, -1], np.zeros((below.shape[1] - 2, self.n), dtype=np.bool_)
        also = np.concatenate([hidden, np.zeros(len(self.margins), dtype=np.bool_)])
        for point in range(1, below.shape[1] - 1):
            between = [below[:, point] - below[:, before] for before in range(point)]
            cells = np.stack([images - below[:, point], *between], axis=1)
            people = least_patients(cells, images[:, None], sizes[:, :1], sizes[:, 1:])
            table = self._table(cells, people, sizes[:, :1].repeat(cells.shape[1], axis=1))
            found[point - 1] = withheld(table, also)[0][: self.n]
        return found

    def close(self, below: Counts, sizes: Counts, hidden: Flags, rates: Flags) -> None:
        """Withhold more, in place, until nobody can work out a small cell because no count is negative.

        Of one class: `below` (groups, 2, points + 2), `sizes` (groups, 2, 2), `hidden` (groups,), `rates` (points, 2, groups)
        what is shown.
        """
        stretches = segments(below.shape[2] - 2)
        values = np.stack([below[:, :, end] - below[:, :, start] for start, end in stretches], axis=2)  # (groups, 2, segments)
        people = least_patients(values, below[:, :, -1:], sizes[:, :, :1], sizes[:, :, 1:])
        values = np.concatenate([values, *(values[list(parts)].sum(axis=0)[None] for parts in self.margins)])
        people = np.concatenate([people, values[self.n :]])
        small = (values > 0) & ((values < self.k) | (people < self.k))
        near = self._near()
        label, quiet = 0, 0
        while quiet < 2:  # both labels in a row without a find
            cuts = np.zeros((len(values), below.shape[2]), dtype=np.bool_)
            cuts[: self.n] = ~hidden[:, None]
            cuts[: self.n, 1:-1] &= rates[:, label].T
            told = np.argwhere(worked_out(self.sums, values[:, label], cuts) & small[:, label])
            if not len(told):
                label, quiet = 1 - label, quiet + 1
                continue
            quiet = 0
            group, segment = (int(one) for one in told[0])
            self._withhold(near[group], stretches[segment], label, below[:, label, -1], hidden, rates)

    def _near(self) -> list[list[int]]:
        """For each item the groups that stand in a sum with it; everyone last."""
        found: list[set[int]] = [set() for _ in range(self.n + len(self.margins))]
        for one in self.sums:
            members = {one.whole, *one.parts}
            for item in members:
                found[item] |= members
        return [[item for item in sorted(one) if 0 < item < self.n] + [0] for one in found]

    def _withhold(
        self, near: list[int], stretch: tuple[int, int], label: int, images: Counts, hidden: Flags, rates: Flags
    ) -> None:
        """The next to go: a rate at an end of the stretch, another rate, a group; the smallest first, everyone last."""
        everybody = [*range(1, self.n), 0]
        for among in (near, everybody):
            shown = [
                (point + 1 not in stretch, group == 0, int(images[group]), group, point)
                for group in among
                for point in range(len(rates))
                if rates[point, label, group]
            ]
            if shown:
                *_, group, point = min(shown)
                rates[point, label, group] = False
                return
            open_ = [(group == 0, int(images[group]), group) for group in among if not hidden[group]]
            if open_:
                group = min(open_)[-1]
                hidden[group], rates[:, :, group] = True, False
                return

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
