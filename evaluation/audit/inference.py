"""What a reader of the release can work out of one label's counts because none is negative.

Sums that are shown bound what is not: a part is at most its whole, and at least the whole less the most that the other parts
can be. Such bounds are sharpened until none moves (the shuttle algorithm, Buzzigoli & Giusti 1999; Dobra & Fienberg, PNAS
2000;97:11885); what is left with one value is worked out, and elimination goes on from there (evaluation.audit.protection).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from evaluation.audit.protection import Flags, Relation, determined

Counts = NDArray[np.int64]
_SWEEPS = 1000  # far more than bounds of any table took to stand


def segments(n_points: int) -> list[tuple[int, int]]:
    """Stretches of scores between two of the cuts 0, the operating points 1 to n_points, and n_points + 1, the end."""
    return list(combinations(range(n_points + 2), 2))


def worked_out(relations: Sequence[Relation], values: Counts, cuts: Flags) -> Flags:
    """Which counts of groups' cases in each segment a reader can tell, (groups, segments).

    `values` (groups, segments) are the true ones, `cuts` (groups, n_points + 2) say where it is shown how many lie to
    either side; the ends are shown with the group. Relations hold in every segment.
    """
    stretches = segments(cuts.shape[1] - 2)
    known = np.stack([cuts[:, start] & cuts[:, end] for start, end in stretches], axis=1)
    place = {stretch: index for index, stretch in enumerate(stretches)}
    sums = [
        (place[start, end], place[start, middle], place[middle, end])
        for start, middle, end in combinations(range(cuts.shape[1]), 3)
    ]
    lo, hi = np.where(known, values, 0), np.where(known, values, values.max(initial=0))
    while True:
        _sharpen(relations, sums, lo, hi)
        told: Flags = lo == hi
        more = told.copy()
        for segment in range(values.shape[1]):
            more[determined(relations, ~told[:, segment]), segment] = True
        if (more == told).all():
            return told
        lo, hi = np.where(more, values, lo), np.where(more, values, hi)


def _sharpen(relations: Sequence[Relation], sums: Sequence[tuple[int, int, int]], lo: Counts, hi: Counts) -> None:
    """Narrow the bounds (groups, segments) in place until they stand."""
    for _ in range(_SWEEPS):
        before = lo.sum(), hi.sum()
        for relation in relations:
            parts = list(relation.parts)
            least, most = lo[parts].sum(axis=0), hi[parts].sum(axis=0)
            lo[relation.whole] = np.maximum(lo[relation.whole], least)
            hi[relation.whole] = np.minimum(hi[relation.whole], most)
            hi[parts] = np.minimum(hi[parts], hi[relation.whole] - (least - lo[parts]))
            lo[parts] = np.maximum(lo[parts], lo[relation.whole] - (most - hi[parts]))
        for whole, one, other in sums:
            lo[:, whole] = np.maximum(lo[:, whole], lo[:, one] + lo[:, other])
            hi[:, whole] = np.minimum(hi[:, whole], hi[:, one] + hi[:, other])
            for part, rest in ((one, other), (other, one)):
                hi[:, part] = np.minimum(hi[:, part], hi[:, whole] - lo[:, rest])
                lo[:, part] = np.maximum(lo[:, part], lo[:, whole] - hi[:, rest])
        if (lo.sum(), hi.sum()) == before:
            return
