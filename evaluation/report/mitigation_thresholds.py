"""Sensitivity and specificity at even odds and at the hospitals' own thresholds, pooled and by hospital.

No number of patients from 1 to smallest - 1 may be read off a share: such shares of a hospital are not shown, and the pooled
one neither where it would give away the only hospital that is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.audit.estimates import lacking, shown, suppressed
from evaluation.audit.rates import wilson
from evaluation.metrics import SHOWN_FROM
from evaluation.report.inputs import RunSummary
from protocol.messages import Called, ClassScores, Scores

_METHOD = "counts, Wilson; every image taken as independent"
_Cells = tuple[int, int]  # called as they should be, and not


def called_at(summary: RunSummary, scored_names: Sequence[str], *, own: bool, smallest: int) -> dict[str, Any]:
    """For each scored class `all` and `sites`; `without` are hospitals with too few validation patients for a threshold."""
    scores = {site.id: site.federated for site in summary.sites if isinstance(site.federated, Scores)}
    return {
        "threshold": "own" if own else 0.5,
        "classes": [
            {"name": name, **_class({silo: one.classes[index] for silo, one in scores.items()}, own=own, smallest=smallest)}
            for index, name in enumerate(scored_names)
        ],
    }


def _class(by_site: Mapping[str, ClassScores], *, own: bool, smallest: int) -> dict[str, Any]:
    having = {silo: (one, one.called) for silo, one in sorted(by_site.items()) if one.called is not None}
    cells = {silo: _cells(one, called, own=own) for silo, (one, called) in having.items() if called is not None}
    # Both tables are of the same patients, so what one hides the other must not show.
    hidden = {
        silo: [any(_small(_cells(one, called, own=each)[place], smallest) for each in (False, True)) for place in (0, 1)]
        for silo, (one, called) in having.items()
        if called is not None
    }
    names = ("sensitivity", "specificity")
    whole: dict[str, Any] = {}
    for place, name in enumerate(names):
        alone = sum(hidden[silo][place] for silo in cells) == 1
        total = (sum(one[place][0] for one in cells.values()), sum(one[place][1] for one in cells.values()))
        whole[name] = suppressed("complement") if alone else _share(total, hide=_small(total, smallest))
    sites = [
        {"id": silo, **{name: _share(cells[silo][place], hide=hidden[silo][place]) for place, name in enumerate(names)}}
        for silo in cells
    ]
    return {"all": whole, "sites": sites, "without": sorted(by_site.keys() - having.keys())}


def _cells(one: ClassScores, called: Called, *, own: bool) -> tuple[_Cells, _Cells]:
    """Positives called and not; negatives not called and called."""
    positive = called.positive_at_own if own else called.positive_at_half
    negative = called.negative_at_own if own else called.negative_at_half
    return (positive, one.n_positive - positive), (one.n_negative - negative, negative)


def _small(cells: _Cells, smallest: int) -> bool:
    return any(0 < one < smallest for one in cells)


def _share(cells: _Cells, *, hide: bool) -> dict[str, Any]:
    n = sum(cells)
    if n < SHOWN_FROM:
        return lacking("too_few_images", n)
    if hide:
        return suppressed("small_cell")
    share = cells[0] / n
    return shown(share, *wilson(share, n), _METHOD, n)
