"""What the page's section on another model is filled with: its AUROC, the final model's, and their paired differences."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from markupsafe import Markup

from evaluation.report.figures.differences import difference_forest

# A sign and words, so that nothing rests on colour alone; `style` is a class of style.css.
_VERDICTS = {
    "better": ("▲", "higher", "pass"),
    "worse": ("▼", "lower", "fail"),
    "no_clear_difference": ("=", "no clear difference", "insufficient"),
}


def versus_view(report: dict[str, Any]) -> dict[str, Any] | None:
    """Context of template_versus.html.j2; None where the plan compared with no other model, or nothing was measured."""
    audit = report.get("audit")
    if audit is None or audit.get("versus_baseline") is None:
        return None
    versus = audit["versus_baseline"]
    own = {(one["name"], group["attribute"], group["value"]): group for one in audit["classes"] for group in one["groups"]}
    classes = [_class(one, own, index, audit["smallest_cell"]) for index, one in enumerate(versus["classes"])]
    methods = {group[figure]["method"] for one in versus["classes"] for group in one["groups"] for figure in _FIGURES}
    return {
        "weights": versus["weights"],
        "model": report["model"].get("compared_with"),
        "classes": classes,
        "unpaired": any(method is not None and method.startswith("unpaired") for method in methods),
    }


_FIGURES = ("auroc", "average_precision")


def _class(one: dict[str, Any], own: dict[Any, Any], index: int, smallest_cell: int) -> dict[str, Any]:
    rows = [_row(group, own[one["name"], group["attribute"], group["value"]]) for group in one["groups"]]
    wide, narrow = (
        difference_forest(rows, one["name"], smallest_cell, f"versus-{index}-{cut}", narrow=cut == "narrow")
        for cut in ("wide", "narrow")
    )
    both = None if wide is None else Markup(f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>')  # noqa: S704
    families = [(key, list(members)) for key, members in groupby(rows, key=lambda row: row["attribute"])]
    return {"name": one["name"], "forest": both, "families": families}


def _row(group: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    base = group["baseline"]["auroc"]
    missing = {"status": base["status"], "why": base.get("why", "too_few_images")}
    return {
        "attribute": group["attribute"],
        "value": group["value"],
        "own": own["auroc"],
        "other": base,
        "difference": {**group["auroc"], **missing},
        "precision": {**group["average_precision"], **missing},
        "said": _VERDICTS.get(group["auroc"]["verdict"]),
    }
