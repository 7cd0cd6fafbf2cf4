"""Where a report gives evidence for what standards ask for: crosswalk.yaml, looked up in this very report."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_name("crosswalk.yaml")
_NAMES = {
    "audit.classes": "figures by group",
    "audit.fairness": "fairness tests",
    "audit.margins": "margins",
    "audit.missingness": "not recorded",
    "audit.thresholds": "thresholds",
    "model.digest": "model",
    "outcome.sentence": "outcome",
    "outcome.versus_alone": "comparison with own models",
    "performance.worst_site": "the lowest hospital",
    "performance.global": "pooled performance",
    "performance.stratified": "performance within hospitals",
    "performance.spread": "spread between hospitals",
    "plan.digest": "digest of the plan",
    "cohort.n_patients": "patients and images by hospital",
    "cohort.n_sites": "number of hospitals",
    "cohort.class_names": "names of the classes",
    "privacy.statement": "privacy statement",
    "privacy.protects": "what privacy covers",
    "privacy.does_not_protect": "what privacy does not cover",
    "intended_use": "intended use",
    "not_evaluated": "not evaluated",
}


@cache
def _entries() -> dict[str, Any]:
    entries: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return entries


def crosswalk(report: Mapping[str, Any]) -> dict[str, Any]:
    """report.json's `crosswalk`: each item with the fields of `report` that are evidence for it.

    `state` is `evidence` where all fields named are there and nothing is known to be missing, `part` where some are there,
    `none` otherwise. It says nothing of whether an item is met. Fields that are not there stand first in `missing`.
    """
    return {
        "version": _entries()["version"],
        "standards": [
            {
                "name": one["name"],
                "source": one["source"],
                "requirements": [_item(item, report) for item in one["requirements"]],
            }
            for one in _entries()["standards"]
        ],
    }


def _item(item: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    there = [path for path in item["where"] if _holds(report, path)]
    absent = [f"{_name(path)} (not in this report)" for path in item["where"] if path not in there]
    state = "none" if not there else "part" if absent or item["missing"] else "evidence"
    return {
        "id": item["id"],
        "asks": item["asks"],
        "state": state,
        "found": [_name(path) for path in there],
        "fields": there,
        "missing": absent + list(item["missing"]),
    }


def _name(path: str) -> str:
    return _NAMES.get(path, f"plan: {path.removeprefix('plan.content.')}" if path.startswith("plan.content.") else path)


def _holds(report: Mapping[str, Any], path: str) -> bool:
    """Whether the field is there and says something: not null, "", [], {} or an object of these; 0 and false do."""
    found: Any = report
    for key in path.split("."):
        if not isinstance(found, Mapping) or key not in found:
            return False
        found = found[key]
    empty: tuple[Any, ...] = (None, "", [], {})
    return found not in empty and not (isinstance(found, Mapping) and all(value in empty for value in found.values()))
