"""What the numbers in a hospital's vector of counts stand for; all hospitals and the auditor derive it from the plan.

For each scored class, for each group, first of the positives and then of the negatives: the counts of scores (log-odds of the
class) in each bin. Without privacy two more numbers follow for each class, group and label: how many patients the images are
of, and the sum over patients of the square of their images, from which follows how much images of one patient can widen an
interval (Kish 1965). Under privacy each patient has one vote, and nothing follows. Where the plan compares with another model,
its scores follow, and at last both models' together (evaluation.audit.pairs).

Groups: everyone; each hospital, unless only sums over hospitals may be known (evaluation.scores: summed); each value of each
attribute; each intersection. A hospital counts in its own group and adds nothing to those of the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evaluation import noisy_histograms
from evaluation.audit.pairs import N_COARSE, SCORES, n_own
from evaluation.scoring import scored_classes
from protocol.errors import EvaluationError
from protocol.plan import Plan
from protocol.plan.audit import Attribute, Audit
from protocol.plan.privacy import PatientPrivacy

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """Test patients who share these values; everyone if `pairs` is empty. `site`: those of one hospital."""

    pairs: tuple[tuple[Attribute, str], ...] = ()
    site: str | None = None

    @property
    def attribute(self) -> str:
        """How its family is named: all, site, sex, or sex × age."""
        return "site" if self.site is not None else " × ".join(name for name, _ in self.pairs) or "all"

    @property
    def value(self) -> str:
        """How it is named within its family."""
        return self.site if self.site is not None else " × ".join(value for _, value in self.pairs) or "all"


@dataclass(frozen=True)
class AuditLayout:
    """The plan's groups, classes and thresholds, and the places of their counts. `sites`: the roster, in its order."""

    audit: Audit
    n_classes: int
    private: bool
    sites: tuple[str, ...]

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """In the order of the counts."""
        return (Group(), *(Group(site=site) for site in self.sites), *(Group(pairs) for pairs in self.audit.groups))

    @cached_property
    def thresholds(self) -> tuple[float, ...]:
        """Every probability that must be an edge, ascending: figures there are exact."""
        return tuple(sorted({*self.audit.operating_points, *self.audit.decision_thresholds}))

    @property
    def n_edges(self) -> int:
        """Number of inner edges of each class's histograms."""
        usual = len(noisy_histograms.EDGES) if self.private else self.audit.bins - 1
        return usual + len(self.thresholds)

    @property
    def n_bins(self) -> int:
        """Number of bins; both ends are open."""
        return self.n_edges + 1

    @property
    def paired(self) -> bool:
        """Whether another model is scored on the same images; a private plan has none."""
        return self.audit.compare_with is not None and not self.private

    @property
    def size(self) -> int:
        """Number of integers in a vector."""
        each = self.n_bins + (0 if self.private else 2) + (math.prod(self._joint) + SCORES if self.paired else 0)
        return self.n_classes * len(self.groups) * 2 * each

    @property
    def _joint(self) -> tuple[int, int]:
        return n_own(self.n_bins), N_COARSE

    @property
    def votes(self) -> int:
        """How many counts one patient can move by one: one in each family of groups, for each scored class."""
        families = 1 + bool(self.sites) + len(self.audit.attributes) + len(self.audit.intersections)
        return self.n_classes * families

    def noised_by(self, site: str) -> NDArray[np.bool_]:
        """Which groups (n_groups,) a hospital adds noise to: all but those of the other hospitals."""
        return np.array([group.site in (None, site) for group in self.groups])

    def split(self, vector: NDArray[np.signedinteger]) -> tuple[Counts, Counts | None]:
        """(counts (classes, groups, 2, bins), patients (classes, groups, 2, 2) or None under privacy) of a vector (size,).

        On the last axis of `patients`: number of patients, sum of squares of their images. Raises EvaluationError.
        """
        self._check(vector)
        shape = (self.n_classes, len(self.groups), 2)
        n_counts, n_patients = math.prod(shape) * self.n_bins, math.prod(shape) * 2
        counts = vector[:n_counts].astype(np.int64).reshape(*shape, self.n_bins)
        if self.private:
            return counts, None
        return counts, vector[n_counts : n_counts + n_patients].astype(np.int64).reshape(*shape, 2)

    def split_pairs(self, vector: NDArray[np.signedinteger]) -> tuple[Counts, Counts] | None:
        """(scores (classes, groups, 2, SCORES), joint (classes, groups, 2, own coarse bins, N_COARSE)) of a vector (size,).

        As evaluation.audit.pairs has them; None where the plan compares with no other model. Raises EvaluationError.
        """
        self._check(vector)
        if not self.paired:
            return None
        shape = (self.n_classes, len(self.groups), 2)
        start = math.prod(shape) * (self.n_bins + 2)
        middle = start + math.prod(shape) * SCORES
        scores = vector[start:middle].astype(np.int64).reshape(*shape, SCORES)
        return scores, vector[middle:].astype(np.int64).reshape(*shape, *self._joint)

    def join(self, counts: Counts, patients: Counts | None, pairs: tuple[Counts, Counts] | None = None) -> Counts:
        """The vector (size,) of which `split` and `split_pairs` give these."""
        vector: Counts = np.concatenate([np.ravel(one) for one in (counts, patients, *(pairs or ())) if one is not None])
        self._check(vector)
        return vector.astype(np.int64)

    def _check(self, vector: NDArray[np.signedinteger]) -> None:
        if vector.shape != (self.size,):
            raise EvaluationError(f"a vector of {vector.size} counts, where the plan's audit has {self.size}.")


def layout_of(plan: Plan, sites: tuple[str, ...]) -> AuditLayout:
    """The layout of `plan` over the roster `sites`. Raises EvaluationError if the plan asks for no audit."""
    if plan.evaluation.audit is None:
        raise EvaluationError("the plan asks for no audit (evaluation.audit).")
    singly = sites if plan.evaluation.scores == "per_site" else ()
    private = isinstance(plan.privacy, PatientPrivacy)
    return AuditLayout(plan.evaluation.audit, len(scored_classes(len(plan.task.classes))), private, singly)
