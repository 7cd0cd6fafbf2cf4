"""The audit as report.json has it: a pure function of the layout, the edges and the opened sum, so that anyone can redo it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.audit import estimates
from evaluation.audit.curves import curves
from evaluation.audit.edges import Edges
from evaluation.audit.fairness import fairness_entry
from evaluation.audit.figures import Cells, GroupFigures
from evaluation.audit.layout import AuditLayout
from evaluation.audit.measuring import figures, noise_on, tallies
from evaluation.audit.rates import share, wilson
from evaluation.audit.versus import versus_baseline
from evaluation.metrics import SHOWN_FROM, WIDE_BELOW, Noise, n_band, sure
from protocol.errors import EvaluationError


def audit_content(
    layout: AuditLayout,
    class_names: Sequence[str],
    edges: Sequence[Edges],
    summed: NDArray[np.signedinteger] | None,
    sites_in_sum: Sequence[str],
    reason: str | None,
) -> dict[str, Any]:
    """report.json's `audit`. `class_names`: those of the scored classes; without a sum `reason` says why there is none.

    Raises EvaluationError if names or edges are of other classes, or the sum is not one of the layout.
    """
    audit = layout.audit
    entry: dict[str, Any] = {
        "model": "federated",
        "sites_in_sum": sorted(sites_in_sum),
        "reason": reason,
        "thresholds": {"operating_points": list(audit.operating_points), "decision": list(audit.decision_thresholds)},
        "smallest_cell": audit.smallest_cell,
        "bins": layout.n_bins,
        "epsilon": audit.epsilon if layout.private else None,
        "margins": audit.margins.model_dump(mode="json"),
    }
    if summed is None:
        return entry | {"classes": [], "fairness": None, "missingness": []}
    if not len(class_names) == len(edges) == layout.n_classes:
        raise EvaluationError(f"{len(class_names)} names and edges of {len(edges)} classes for {layout.n_classes} scored ones.")
    found, counted = figures(layout, edges, summed, len(sites_in_sum)), tallies(layout, summed, len(sites_in_sum))
    sizes = layout.split(summed)[1]
    absent = set(layout.sites) - set(sites_in_sum)
    classes = [
        {"name": name, "groups": [_group(layout, one, absent) for one in found[index]]}
        | curves(layout, edges[index], counted[index][0], None if sizes is None else sizes[index, 0], found[index][0])
        for index, name in enumerate(class_names)
    ]
    fairness = fairness_entry(layout, class_names, found)
    entry |= {"classes": classes, "fairness": fairness, "missingness": _missingness(layout, found, len(sites_in_sum))}
    versus = versus_baseline(layout, class_names, summed, found, counted, absent)
    return entry if versus is None else entry | {"versus_baseline": versus}


def _group(layout: AuditLayout, one: GroupFigures, absent: set[str]) -> dict[str, Any]:
    noise = Noise(0.0, one.count_sd) if layout.private else None
    cases = min(sure(int(count), noise) for count in (one.events, one.n - one.events))
    if one.group.site in absent:
        why, nothing = "took_no_part", estimates.lacking("took_no_part", 0)
    elif not one.shown:
        why, nothing = str(one.why), estimates.suppressed(str(one.why))
    else:
        why = "too_few_images" if noise is None else "too_much_noise"
        nothing = estimates.lacking(why, cases)
    shown = one.shown and one.group.site not in absent
    measured = shown and cases >= SHOWN_FROM
    entry = {
        "attribute": one.group.attribute,
        "value": one.group.value,
        "n": int(one.n) if shown and noise is None else None,
        "events": int(one.events) if shown and noise is None else None,
        "n_band": n_band(cases) if shown else nothing["n_band"],
        "status": ("ok" if cases >= WIDE_BELOW else "wide") if measured else nothing["status"],
        "why": None if measured else why,
        "operating_points": [
            _rates(cells, one.design, layout.audit.smallest_cell, nothing if not shown else None) for cells in one.rates
        ],
    }
    if not measured or one.auroc is None:
        return entry | {"auroc": nothing, "average_precision": nothing, "calibration": dict.fromkeys(_CALIBRATION, nothing)}
    effective = one.events / one.design[0]
    form = "summed counts" if noise is None else "summed noised counts"
    parts = one.calibration
    return entry | {
        "auroc": estimates.auroc(one.auroc, one.design),
        "average_precision": estimates.average_precision(one.average_precision, cases, effective, wilson),
        "calibration": {
            "intercept": estimates.normal(parts.intercept, f"{form}, logistic, sandwich", cases),
            "slope": estimates.normal(parts.slope, f"{form}, logistic, sandwich", cases),
            "observed_expected": estimates.normal(parts.observed_expected, f"{form}, log scale", cases, log=True),
        },
    }


_CALIBRATION = ("intercept", "slope", "observed_expected")


def _rates(cells: Cells, design: tuple[float, float], k: int, nothing: dict[str, Any] | None) -> dict[str, Any]:
    """One operating point; a share is withheld where a cell it is made of is, predictive values where any is."""
    tp, fn, fp, tn = cells.noise
    positives, negatives, larger = cells.positives_shown, cells.negatives_shown, max(design)
    shares = {
        "sensitivity": (positives, (cells.tp, cells.fn), (tp, fn), design[0]),
        "specificity": (negatives, (cells.tn, cells.fp), (tn, fp), design[1]),
        "ppv": (positives and negatives, (cells.tp, cells.fp), (tp, fp), larger),
        "npv": (positives and negatives, (cells.tn, cells.fn), (tn, fn), larger),
    }
    entry: dict[str, Any] = {"threshold": cells.threshold}
    for name, (may_show, counts, noise, widening) in shares.items():
        if nothing is not None:
            entry[name] = nothing
        elif may_show:
            entry[name] = share(*counts, noise, widening)
        else:
            entry[name] = estimates.suppressed("small_cell" if any(0 < count < k for count in counts) else "complement")
    return entry


def _missingness(layout: AuditLayout, found: Sequence[Sequence[GroupFigures]], n_silos: int) -> list[dict[str, Any]]:
    """For each attribute the share of images (under privacy patients) of which it is not known."""
    place, entries = {group: index for index, group in enumerate(layout.groups)}, []
    for attribute in layout.audit.attributes:
        index = next(place[group] for group in place if group.pairs == ((attribute, "unknown"),))
        shown = next((of_class for of_class in found if of_class[index].shown and of_class[0].shown), None)
        if shown is None:
            entries.append({"attribute": attribute, "unknown": estimates.suppressed(found[0][index].why or "complement")})
            continue
        one, everyone = shown[index], shown[0]
        noise = 2.0 * layout.n_bins * noise_on(layout, one.group, n_silos)
        unknown = share(one.n, everyone.n - one.n, (noise, 2.0 * noise if noise else 0.0), max(everyone.design))
        entries.append({"attribute": attribute, "unknown": unknown})
    return entries
