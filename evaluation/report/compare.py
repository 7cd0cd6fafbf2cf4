"""What differs between two reports: figures with intervals, hospital by hospital and group by group; the plans; the privacy.

Two jobs share no covariance, so figures are compared as if measured on different patients (intervals.difference_interval); on
the same patients that is cautious. But where the audit of one job also scored the other's model, on its own test patients, the
AUROC and average precision are the paired ones of that audit (evaluation.report.paired). Where two releases on the same
patients differ by so few cases that their difference would tell of them, it is refused (evaluation.audit.differencing): all
figures of a group if few came or left, one rate if two models call nearly the same number of a group that is otherwise alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evaluation.audit.differencing import differs_by_few
from evaluation.comparison import UNPAIRED
from evaluation.intervals import difference_interval
from evaluation.report.own_code import without_source
from evaluation.report.paired import Key, measured_by, paired_rows

_RATES = ("sensitivity", "specificity")
_CALLED = {"sensitivity": ("true positives", "false negatives"), "specificity": ("true negatives", "false positives")}
_SMALLEST_CELL = 11  # where neither report has an audit that says
_DECIMALS = 6
_WHOLE = ("all", "site")  # what a job without an audit has figures of
Report = Mapping[str, Any]


def compare_reports(a: Report, b: Report) -> dict[str, Any]:
    """JSON object: `figures` (b minus a, each with its `method`), `plan`, `privacy`, `same_patients` (null: not known),
    `same_job`, `only_in_a`, `only_in_b`; `paired`: whose audit, a's or b's, scored the other's model too, null if neither did.
    """
    same, by = same_patients(a, b), measured_by(a, b)
    audited = _audited(a) and _audited(b)
    first, second = dict(_figures(a, audited=audited)), dict(_figures(b, audited=audited))
    refused = set() if same is False else _refused(a, b)
    paired = {} if by is None else paired_rows({"a": a, "b": b}[by], sign=1 if by == "b" else -1)
    rows = {
        key: _row(key, first[key], second[key], refused=key[:3] in refused or key in refused) for key in first if key in second
    }
    if _one_job(a, b):
        rows = {key: _same(row) for key, row in rows.items()}
    return {
        "a": _about(a),
        "b": _about(b),
        "method": UNPAIRED,
        "same_patients": same,
        "same_job": _one_job(a, b),
        "paired": by,
        "figures": list(_better(rows, paired).values()),
        "only_in_a": _names(first, second) + ([] if audited or paired else _groups(a)),
        "only_in_b": _names(second, first) + ([] if audited or paired else _groups(b)),
        "plan": plan_differences(without_source(a["plan"]["content"]), without_source(b["plan"]["content"])),
        "privacy": {
            name: {"a": a["privacy"].get(name), "b": b["privacy"].get(name)}
            for name in ("mechanism", "secure_aggregation", "epsilon", "delta")
        },
    }


def _better(rows: Mapping[Key, dict[str, Any]], paired: Mapping[Key, dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    """Each figure once, paired where it can be. Without a second audit everyone and the hospitals stand under no class; a
    paired figure stands for theirs too."""
    paired = {key: row for key, row in paired.items() if row["difference"]["value"] is not None or key not in rows}
    covered = {key[1:4] for key, row in paired.items() if row["difference"]["value"] is not None}
    kept = {key: row for key, row in rows.items() if key[0] or key[1:4] not in covered or key[1] not in _WHOLE}
    return {key: paired.get(key, row) for key, row in kept.items()} | {
        key: row for key, row in paired.items() if key not in kept
    }


def _same(row: dict[str, Any]) -> dict[str, Any]:
    """A figure beside itself: nothing is estimated, so 0 has no interval about it."""
    return row | {"difference": {"value": 0.0, "lo": 0.0, "hi": 0.0}} if row["difference"]["value"] == 0.0 else row


def _one_job(a: Report, b: Report) -> bool:
    """Whether this is one job's report twice, written at whatever time."""
    return all(a[key] == b[key] for key in ("job", "plan", "lineage", "sites"))


def same_patients(a: Report, b: Report) -> bool | None:
    """Whether both tested on the same patients of every hospital they share: same store, same split. None: not known.

    True of a job and itself, whatever it says of its cohort. False only where no store is in both.
    """
    if _one_job(a, b):
        return True
    stores = [{site["id"]: site["store_digest"] for site in report["sites"]} for report in (a, b)]
    known = [{digest for digest in one.values() if digest} for one in stores]
    if not all(known) or any(not digest for one in stores for digest in one.values()):
        return None
    if not known[0] & known[1]:
        return False
    return True if stores[0] == stores[1] and _split(a) == _split(b) else None


def _split(report: Report) -> tuple[Any, ...]:
    """What decides which patients are tested on."""
    plan = report["plan"]["content"]
    return plan.get("seed"), (plan.get("data") or {}).get("split"), (plan.get("task") or {}).get("target")


def plan_differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[dict[str, Any]]:
    """Keys at which two plans differ, with both values; null where a plan has no such key."""
    found: list[dict[str, Any]] = []
    for key in sorted({*a, *b}):
        one, other, name = a.get(key), b.get(key), f"{prefix}{key}"
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += plan_differences(one, other, f"{name}.")
        elif one != other:
            found.append({"key": name, "a": one, "b": other})
    return found


def _about(report: Report) -> dict[str, Any]:
    return {"job": report["job"], "title": report["title"], "plan_digest": report["plan"]["digest"]}


def _audited(report: Report) -> bool:
    audit = report.get("audit")
    return audit is not None and bool(audit["classes"])


def _groups(report: Report) -> list[str]:
    """Groups of patients that only an audit has, where the other job has none."""
    if not _audited(report):
        return []
    return [
        f"{one['name']} {group['attribute']} {group['value']}"
        for one in report["audit"]["classes"]
        for group in one["groups"]
        if group["attribute"] not in ("all", "site")
    ]


def _figures(report: Report, *, audited: bool) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Every figure that can be compared: of the audit's groups if both jobs have one, else of everyone and the hospitals."""
    if audited:
        for one in report["audit"]["classes"]:
            for group in one["groups"]:
                where = (one["name"], group["attribute"], group["value"])
                yield (*where, "auroc", None), group["auroc"]
                for point in group["operating_points"]:
                    for rate in _RATES:
                        yield (*where, rate, point["threshold"]), point[rate]
        return
    yield ("", "all", "all", "auroc", None), report["performance"]["global"]["auroc"]
    for site in report["sites"]:
        yield ("", "site", site["id"], "auroc", None), site["auroc"]


def _refused(a: Report, b: Report) -> set[tuple[Any, ...]]:
    """What differs by 1 to the smallest cell less one: groups by their numbers of cases as (class, attribute, value), and
    single rates by their numbers of called cases as whole keys."""
    audits = [report.get("audit") for report in (a, b)]
    if not (_audited(a) and _audited(b)):
        sizes = [{site["id"]: site["n_test"] for site in report["sites"]} for report in (a, b)]
        few = {id_ for id_, n in sizes[0].items() if _few(n, sizes[1].get(id_), _SMALLEST_CELL)}
        return {("", "site", id_) for id_ in few} | ({("", "all", "all")} if few else set())
    k = max(audit["smallest_cell"] for audit in audits if audit is not None)
    cells = set(differs_by_few(audits[0] or {}, audits[1] or {}, k))
    found: set[tuple[Any, ...]] = set()
    for one in (audits[0] or {})["classes"]:
        for group in one["groups"]:
            key = (one["name"], group["attribute"], group["value"])
            name = f"{key[0]}: {key[1]} {key[2]}"
            if cells & {f"{name}, {what}" for what in ("images", "positives", "negatives")}:
                found.add(key)
            for point in group["operating_points"]:
                at = point["threshold"]
                found |= {(*key, rate, at) for rate in _RATES if cells & {f"{name}, {what} at {at}" for what in _CALLED[rate]}}
    return found


def _few(one: int | None, other: int | None, k: int) -> bool:
    return one is not None and other is not None and 0 < abs(one - other) < k


def _row(key: Key, a: Mapping[str, Any], b: Mapping[str, Any], *, refused: bool) -> dict[str, Any]:
    row = dict(zip(("class", "attribute", "value", "figure", "threshold"), key, strict=True))
    nothing = {"value": None, "lo": None, "hi": None}
    if refused:
        return row | {"a": nothing, "b": nothing, "difference": nothing, "verdict": "refused", "method": None}
    sides = {name: {end: one[end] for end in nothing} for name, one in (("a", a), ("b", b))}
    if a["value"] is None or b["value"] is None:
        return row | sides | {"difference": nothing, "verdict": "not_estimable", "method": None}
    value, lo, hi = difference_interval(_triple(b), _triple(a))
    verdict = "higher" if lo > 0.0 else "lower" if hi < 0.0 else "no_clear_difference"
    numbers = {"value": value, "lo": lo, "hi": hi}
    difference = {name: round(one, _DECIMALS) for name, one in numbers.items()}
    return row | sides | {"difference": difference, "verdict": verdict, "method": UNPAIRED}


def _triple(estimate: Mapping[str, Any]) -> tuple[float, float, float]:
    return float(estimate["value"]), float(estimate["lo"]), float(estimate["hi"])


def _names(here: Mapping[Key, Any], there: Mapping[Key, Any]) -> list[str]:
    """Groups of which one report has figures and the other has none."""
    known = {key[:3] for key in there}
    return list(dict.fromkeys(" ".join(part for part in key[:3] if part) for key in here if key[:3] not in known))
