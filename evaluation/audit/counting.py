"""Inside a hospital: from its test rows to the vector of counts that may leave it, masked or noised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.audit.counting_pairs import count_pairs
from evaluation.audit.edges import Edges, check_edges
from evaluation.audit.layout import AuditLayout, Counts, Group
from evaluation.scoring import checked_rows, log_odds, scored_classes
from protocol.errors import EvaluationError
from protocol.plan.audit import Attribute

Raw = str | int | None
Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class TestRows:
    """A hospital's test images under the final model; all of one length n, which may be 0.

    `labels` (n,) class indices, `log_probabilities` (n, classes) natural logs or logits, `patients` (n,) integer codes,
    `attributes` what the cohort store says of each: attribute -> value, or None or no entry where it says nothing. `baseline`
    (n, classes): as `log_probabilities`, under the model that the plan compares with, if it names one.
    """

    labels: NDArray[np.integer]
    log_probabilities: NDArray[np.floating]
    patients: NDArray[np.integer]
    attributes: Sequence[Mapping[str, Raw]]
    baseline: NDArray[np.floating] | None = None


def count_images(layout: AuditLayout, site: str, edges: Sequence[Edges], rows: TestRows) -> Counts:
    """Every image of `site` counted, without privacy: the vector (layout.size,).

    Raises EvaluationError on edges that are not the plan's, on a score that is not a number, on shapes and labels that
    do not fit.
    """
    labels, logs, patients = _checked(layout, rows)
    if np.isnan(logs).any() or not np.isfinite(logs.max(axis=1, initial=0.0)).all():
        raise EvaluationError("a log-probability is not a number; the model diverged, so there is nothing to count.")
    checked = check_edges(layout, edges)
    counts, sizes = _count(layout, site, checked, labels, logs, rows.attributes, patients)
    if not layout.paired:
        return layout.join(counts, sizes)
    memberships = list(_memberships(layout, site, rows.attributes))
    return layout.join(counts, sizes, count_pairs(layout, checked, labels, (logs, rows.baseline), memberships))


def count_votes(layout: AuditLayout, site: str, edges: Sequence[Edges], rows: TestRows, pick: Callable[[int], int]) -> Counts:
    """Under privacy: one vote for each patient of `site`, before noise: the vector (layout.size,).

    `pick(k)` draws the vote of a patient with k images, 0 to k - 1, from a secure source; the image is the same for every
    class and every group. A score that is not a number votes at even odds, a value that cannot be read counts as unknown: a
    refusal would tell of one patient. Raises EvaluationError only on what does not depend on a single patient's image.
    """
    labels, logs, patients = _checked(layout, rows)
    checked, voting = check_edges(layout, edges), _voting(patients, pick)
    chosen = [rows.attributes[row] for row in voting]
    counts, _ = _count(layout, site, checked, labels[voting], logs[voting], chosen, None)
    return layout.join(counts, None)


def noised(layout: AuditLayout, site: str) -> NDArray[np.bool_]:
    """Which numbers of the vector (layout.size,) get the noise of `site`: every count, empty ones too, of its groups."""
    shape = (layout.n_classes, len(layout.groups), 2, layout.n_bins)
    return np.ravel(np.broadcast_to(layout.noised_by(site)[None, :, None, None], shape))


def _checked(layout: AuditLayout, rows: TestRows) -> tuple[NDArray[np.integer], NDArray[np.float64], NDArray[np.integer]]:
    labels, logs = checked_rows(rows.labels, rows.log_probabilities)
    patients = np.asarray(rows.patients)
    if len(scored_classes(logs.shape[1])) != layout.n_classes:
        raise EvaluationError(f"scores of {logs.shape[1]} classes do not belong to a plan that scores {layout.n_classes}.")
    if patients.shape != labels.shape or (patients.size and not np.issubdtype(patients.dtype, np.integer)):
        raise EvaluationError(f"patients {patients.shape} of type {patients.dtype} must be one integer code a row.")
    if len(rows.attributes) != len(labels):
        raise EvaluationError(f"attributes of {len(rows.attributes)} rows, where there are {len(labels)}.")
    return labels, logs, patients


def _voting(patients: NDArray[np.integer], pick: Callable[[int], int]) -> Rows:
    """The row that votes for each patient."""
    order = np.argsort(patients, kind="stable")
    _, starts, sizes = np.unique(patients[order], return_index=True, return_counts=True)
    drawn = [int(start) + pick(int(size)) for start, size in zip(starts, sizes, strict=True)]
    rows: Rows = order[np.array(drawn, dtype=np.intp)]
    return rows


def _count(
    layout: AuditLayout,
    site: str,
    edges: Sequence[Edges],
    labels: NDArray[np.integer],
    logs: NDArray[np.float64],
    attributes: Sequence[Mapping[str, Raw]],
    patients: NDArray[np.integer] | None,
) -> tuple[Counts, Counts | None]:
    n_groups, n_bins = len(layout.groups), layout.n_bins
    counts = np.zeros((layout.n_classes, n_groups, 2, n_bins), dtype=np.int64)
    sizes = None if patients is None else np.zeros((layout.n_classes, n_groups, 2, 2), dtype=np.int64)
    memberships = list(_memberships(layout, site, attributes))
    for place, (index, inner) in enumerate(zip(scored_classes(logs.shape[1]), edges, strict=True)):
        negative = (labels != index).astype(np.intp)
        with np.errstate(invalid="ignore"):  # what is not a number votes at even odds; without privacy there is none
            odds = log_odds(logs, index)
        bins = np.searchsorted(inner, np.where(np.isnan(odds), 0.0, odds), side="right")
        for groups in memberships:
            cells = groups * 2 + negative
            counts[place] += np.bincount(cells * n_bins + bins, minlength=n_groups * 2 * n_bins).reshape(counts[place].shape)
            if patients is not None and sizes is not None:
                sizes[place] += _patients(cells, patients, n_groups)
    return counts, sizes


def _memberships(layout: AuditLayout, site: str, attributes: Sequence[Mapping[str, Raw]]) -> Iterator[Rows]:
    """For each family of groups, the group (n,) that each row is in."""
    place = {group: index for index, group in enumerate(layout.groups)}
    n = len(attributes)
    yield np.zeros(n, dtype=np.intp)
    if layout.sites:
        if site not in layout.sites:
            raise EvaluationError(f"{site} is not on the roster, so its patients have no place among the counts.")
        yield np.full(n, place[Group(site=site)], dtype=np.intp)
    audit = layout.audit
    for family in (*((attribute,) for attribute in audit.attributes), *audit.intersections):
        values = [tuple((attribute, _value(layout, attribute, row)) for attribute in family) for row in attributes]
        yield np.array([place[Group(pairs)] for pairs in values], dtype=np.intp)


def _value(layout: AuditLayout, attribute: Attribute, row: Mapping[str, Raw]) -> str:
    try:
        return layout.audit.value_of(attribute, row.get(attribute))
    except (ValueError, TypeError, OverflowError):
        return "unknown"  # an age that is no number


def _patients(cells: Rows, patients: NDArray[np.integer], n_groups: int) -> Counts:
    """(groups, 2, 2): how many patients the images are of, and the sum of the squares of their images."""
    each = np.stack([cells, np.unique(patients, return_inverse=True)[1]])
    (owners, _), images = np.unique(each, axis=1, return_counts=True)
    numbers = np.bincount(owners, minlength=n_groups * 2)
    squares = np.bincount(owners, weights=images.astype(np.float64) ** 2, minlength=n_groups * 2)
    return np.stack([numbers, np.rint(squares)], axis=-1).astype(np.int64).reshape(n_groups, 2, 2)
