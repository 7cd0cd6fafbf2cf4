"""From what each site said to the figures of the federation: pooled, site-stratified, worst site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evaluation.measure import AnyScores, class_aurocs, pooled_classes
from evaluation.measured import Measured, macro, stratify
from evaluation.summed import AnySum
from protocol.errors import EvaluationError


def site_auroc(scores: AnyScores) -> Measured:
    """A site's headline AUROC: the positive class, or the mean over the estimable classes."""
    return macro(class_aurocs(scores))


def pooled(sites: Sequence[AnyScores | AnySum]) -> Measured:
    """The global AUROC over all sites, or their sum. Beware: with sites of unlike prevalence, recognising the site raises it.

    From exact scores its variance takes every image as independent; those of `stratified` and of the sites allow for several
    of a patient. In noised scores each patient has one image.
    """
    return macro(pooled_classes(sites))


def stratified(sites: Sequence[AnyScores]) -> Measured:
    """The AUROC within sites: how often a positive outranks a negative of the SAME site; all such pairs weigh the same.

    Only sites with enough cases of each class count.
    """
    measured = [class_aurocs(site) for site in sites]
    counts = sorted({len(classes) for classes in measured})
    if len(counts) != 1 or counts[0] == 0:
        raise EvaluationError(f"sites scored {counts or 'no'} classes; all must score the same, and at least one.")
    return macro([stratify(one_class) for one_class in zip(*measured, strict=True)])


def worst_site(sites: Mapping[str, AnyScores]) -> tuple[str, Measured] | None:
    """The estimable site with the lowest AUROC over all its classes (ties: first by name); None if there is none."""
    measured = {name: site_auroc(scores) for name, scores in sorted(sites.items())}
    usable = {name: one for name, one in measured.items() if one.estimable and one.complete and one.value is not None}
    return min(usable.items(), key=lambda item: (item[1].value or 0.0, item[0])) if usable else None
