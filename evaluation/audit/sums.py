"""Vectors of counts as they travel, and what must hold of one before anything is made of it.

A hospital that is asked on its own knows no other: of the groups of single hospitals its vector has its own alone
(`own_layout`), and whoever adds up puts it in its place (`placed`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evaluation.audit.layout import AuditLayout, Counts
from evaluation.audit.pairs import check_pairs
from protocol.errors import EvaluationError

COUNTS = np.dtype("<i8")
"""How a count travels where it is not masked."""
_LARGEST = 2**31 - 1


def own_layout(layout: AuditLayout, site: str) -> AuditLayout:
    """The layout of what one hospital answers on its own."""
    return replace(layout, sites=(site,) if layout.sites else ())


def to_wire(vector: Counts) -> memoryview:
    """Little-endian bytes of a vector of counts."""
    return np.ascontiguousarray(vector, dtype=COUNTS).view(np.uint8).data


def from_wire(layout: AuditLayout, wire: memoryview) -> Counts:
    """The vector (size,). Raises EvaluationError if it has another length."""
    if wire.nbytes != layout.size * COUNTS.itemsize:
        raise EvaluationError(f"{wire.nbytes} bytes of counts, where the plan's audit has {layout.size * COUNTS.itemsize}.")
    return np.frombuffer(wire, dtype=COUNTS).astype(np.int64)


def placed(layout: AuditLayout, site: str, vector: Counts) -> Counts:
    """The vector (size,) of `layout` that a hospital's own vector stands for: nothing in the groups of the others."""
    alone = own_layout(layout, site)
    (counts, patients), pairs = alone.split(vector), alone.split_pairs(vector)
    own = layout.noised_by(site)
    if int(own.sum()) != counts.shape[1]:
        raise EvaluationError(f"{site} is not a hospital of this audit.")

    def put(values: Counts) -> Counts:
        whole = np.zeros((values.shape[0], len(own), *values.shape[2:]), dtype=np.int64)
        whole[:, own] = values
        return whole

    both = None if pairs is None else (put(pairs[0]), put(pairs[1]))
    return layout.join(put(counts), None if patients is None else put(patients), both)


def added(layout: AuditLayout, vectors: Mapping[str, Counts]) -> Counts:
    """The sum (size,) of hospitals' own vectors."""
    total: Counts = np.zeros(layout.size, dtype=np.int64)
    for site, vector in vectors.items():
        total += placed(layout, site, vector)
    return total


def check_counts(layout: AuditLayout, vector: NDArray[np.signedinteger], sites: Collection[str]) -> None:
    """Raises EvaluationError unless `vector` (size,) can be the counts of the hospitals `sites`.

    Without privacy: nothing is negative; all scored classes count the same images; the values of an attribute, the cells of an
    intersection and the hospitals add up to everyone in every bin; hospitals that are not in `sites` have none; the numbers of
    patients fit those of images; what two models scored are the same images. Noised counts need only be as many, and no larger
    than a sum can hold.
    """
    if vector.size and float(np.abs(vector.astype(np.float64)).max()) > _LARGEST:
        raise EvaluationError(f"a count is beyond {_LARGEST}, more than a sum over hospitals can hold.")
    (counts, patients), pairs = layout.split(vector), layout.split_pairs(vector)
    if patients is None:
        return
    if (counts < 0).any() or (patients < 0).any():
        raise EvaluationError("a count is negative.")
    if (counts.sum(axis=(2, 3)) != counts[:1].sum(axis=(2, 3))).any():
        raise EvaluationError("the classes do not count the same images.")
    for family, members in _families(layout).items():
        if (counts[:, members].sum(axis=1) != counts[:, 0]).any():
            raise EvaluationError(f"the groups by {family} do not add up to everyone.")
        if any((one[:, members].sum(axis=1) != one[:, 0]).any() for one in pairs or ()):
            raise EvaluationError(f"the groups by {family} do not add up to everyone, by the scores of the other model.")
        _check_together(family, patients[..., 0][:, members].sum(axis=1), patients[:, 0, :, 0])
    others = [index for index, group in enumerate(layout.groups) if group.site is not None and group.site not in sites]
    if counts[:, others].any():
        raise EvaluationError("a hospital that is not in the sum has counts in it.")
    _check_patients(counts.sum(axis=3), patients)
    if pairs is not None:
        check_pairs(layout, counts, *pairs)


def _families(layout: AuditLayout) -> dict[str, list[int]]:
    """Groups of which every test image is in exactly one, by what tells them apart."""
    families: dict[str, list[int]] = {}
    for index, group in enumerate(layout.groups[1:], start=1):
        families.setdefault(group.attribute, []).append(index)
    return families


def _check_together(family: str, of_groups: Counts, everyone: Counts) -> None:
    """The images of one patient may show several ages or scanners, but they are of one hospital."""
    if (of_groups < everyone).any() or (family == "site" and (of_groups != everyone).any()):
        raise EvaluationError(f"the patients of the groups by {family} are not those of everyone.")


def _check_patients(images: Counts, patients: Counts) -> None:
    """Numbers of patients and sums of squares (..., 2) that so many `images` (...) can have: a patient has one or more.

    In floats: what is no count may be too large to be multiplied.
    """
    n, squares, whole = patients[..., 0].astype(np.float64), patients[..., 1].astype(np.float64), images.astype(np.float64)
    possible = (n <= whole) & ((n > 0) == (whole > 0)) & (squares >= whole) & (squares <= whole**2) & (n * squares >= whole**2)
    if not possible.all():
        raise EvaluationError("the numbers of patients do not fit those of their images.")
