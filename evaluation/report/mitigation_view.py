"""What the page's section on mitigation is filled with: settings and notes in words, figures before and after in rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evaluation.report.audit_words import why_missing, why_no_slope

_TITLES = {
    "q_ffl": "Weights by loss (q-FFL)",
    "worst_site": "Weights for the worst hospital",
    "recalibrate": "Recalibration at each hospital",
    "site_threshold": "A threshold for each hospital",
}
_SETTINGS = {
    "fairness_q": "q",
    "fairness_loss_bound": "a loss counts up to",
    "fairness_measure": "by",
    "fairness_rate": "rate",
    "fairness_floor": "part of the weight that is always spread equally",
    "method": "map",
    "sensitivity": "sensitivity wanted",
}
_HOW = {
    "recalibrate": "Intercept 0, slope 1 and observed / expected 1 are perfect; a lower loss is better. A pooled AUROC that "
    "rises is no better ranking at any hospital.",
    "site_threshold": "Left, every hospital calls from a score of 0.5; right, each from its own threshold.",
}
_LABELS = {"observed_expected": "observed / expected", "loss": "mean loss, nats an image", "auroc": "AUROC"}
_HEADS = {"recalibrate": ("Before", "After"), "site_threshold": ("From 0.5", "From its own")}
_NO_WEIGHTS = {
    "masked": "Every update was masked with its weight: nobody knows a single one.",
    "small_cell": "Weights are not shown: they follow validation figures, of which some rest on too few images or patients.",
}
_SMALLEST = 11  # as evaluation.report.mitigation: the smallest cell of a plan without an audit

Row = tuple[str, str, str, str]  # whose, which figure, before, after; intervals behind a line break


def mitigation_view(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry for each of report.json's `mitigation`."""
    smallest = (report.get("audit") or {}).get("smallest_cell", _SMALLEST)
    return [_entry(one, smallest) for one in report.get("mitigation") or ()]


def _entry(one: Mapping[str, Any], smallest: int) -> dict[str, Any]:
    kind, both, settings = one["kind"], one["before"] and one["after"], dict(one["settings"])
    rows = [] if not both else list((_calibrated if kind == "recalibrate" else _called)(one["before"], one["after"], smallest))
    if settings.get("fairness_measure") == "auroc":
        settings.pop("fairness_loss_bound", None)  # of no use then
    return {
        "title": _TITLES.get(kind, kind),
        "note": one["note"],
        "settings": " · ".join(f"{_SETTINGS.get(key, key.replace('_', ' '))} {value}" for key, value in settings.items()),
        "heads": _HEADS.get(kind, ("Before", "After")),
        "rows": rows,
        "remarks": list(_remarks(one)),
        "weights": _weights(one.get("rounds") or ()),
    }


def _remarks(one: Mapping[str, Any]) -> Iterator[str]:
    kind = one["kind"]
    if one["before"] and one["after"]:
        if kind in _HOW:
            yield _HOW[kind]
        without = {silo for each in one["after"].get("classes", ()) for silo in each.get("without", ())}
        if without:
            named = ", ".join(sorted(without))
            yield f"Without a threshold of their own, for too few positives in validation, and not in the rows: {named}."
    elif kind == "recalibrate":
        yield "The recalibrated model was not scored, so there is nothing to compare."
    rounds = one.get("rounds") or ()
    if rounds and not any(each["weights"] for each in rounds):
        yield _NO_WEIGHTS[one.get("why", "masked")]


def _weights(rounds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each hospital its share in the first and the last round, and the last beside an equal one."""
    known = [each["weights"] for each in rounds if each["weights"]]
    if not known:
        return []
    first, last = known[0], known[-1]
    return [
        {"site": silo, "first": first.get(silo), "last": share, "times": share * len(last)}
        for silo, share in sorted(last.items())
    ]


def _calibrated(before: Mapping[str, Any], after: Mapping[str, Any], smallest: int) -> Iterator[Row]:
    yield "Everyone", _LABELS["auroc"], _text(before["auroc"], smallest), _text(after["auroc"], smallest)
    yield from _levels("Everyone", before, after, smallest)
    others = {one["id"]: one for one in after["sites"]}
    for site in before["sites"]:
        if site["id"] in others:
            yield from _levels(site["id"], site, others[site["id"]], smallest)


def _levels(whose: str, before: Mapping[str, Any], after: Mapping[str, Any], smallest: int) -> Iterator[Row]:
    if before.get("loss") is not None and after.get("loss") is not None:
        yield whose, _LABELS["loss"], _number(before["loss"]), _number(after["loss"])
    for one, other in zip(before["classes"], after["classes"], strict=True):
        own = f"{one['name']}, " if len(before["classes"]) > 1 else ""
        for key, value in one["calibration"].items():
            texts = (_text(each, smallest, slope=key == "slope") for each in (value, other["calibration"][key]))
            yield whose, own + _LABELS.get(key, key), *texts


def _called(before: Mapping[str, Any], after: Mapping[str, Any], smallest: int) -> Iterator[Row]:
    for one, other in zip(before["classes"], after["classes"], strict=True):
        own = f"{one['name']}, " if len(before["classes"]) > 1 else ""
        pairs = [("Everyone", one["all"], other["all"])]
        others = {each["id"]: each for each in other["sites"]}
        pairs += [(site["id"], site, others[site["id"]]) for site in one["sites"] if site["id"] in others]
        for whose, at_half, at_own in pairs:
            for key in ("sensitivity", "specificity"):
                yield whose, own + key, _text(at_half[key], smallest), _text(at_own[key], smallest)


def _text(estimate: dict[str, Any], smallest: int, *, slope: bool = False) -> str:
    if estimate["value"] is None:
        return why_no_slope(estimate, smallest, False) if slope else why_missing(estimate, smallest)
    return f"{_number(estimate['value'])}\n{_number(estimate['lo'])} to {_number(estimate['hi'])}"


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")
