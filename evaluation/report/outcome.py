"""The one sentence a director reads, and the counts it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.report.absence import as_clause, never_trained

_VERDICTS = ("better", "worse", "no_clear_difference", "not_estimable")
_ORDINALS = ("A", "A second", "A third", "A fourth", "A fifth", "A sixth", "A seventh", "An eighth", "A ninth", "A tenth")
_MOST_REASONS = 3  # in the sentence; beyond, the page's section on rounds has them


def outcome(
    rounds: Sequence[dict[str, Any]], sites: Sequence[dict[str, Any]], *, private: bool = False, summed: bool = False
) -> dict[str, Any]:
    """report.json's `outcome`: `sentence`, and the site ids behind each of its counts.

    If any hospital was compared, each stands in one of `versus_alone`: `not_estimable` holds those without a comparison too.
    """
    took_part = sorted({site for one in rounds for site in one["aggregated"]})
    n_rounds = len({one["round"] for one in rounds if one["aggregated"]})
    absent = never_trained(rounds, [site["id"] for site in sites])
    compared = any(site["versus_alone"] for site in sites)
    verdicts: dict[str, list[str]] = {name: [] for name in _VERDICTS}
    for site in sites if compared else ():
        verdicts[site["versus_alone"]["federated"]["verdict"] if site["versus_alone"] else "not_estimable"].append(site["id"])
    together = "one model together" if len(took_part) > 1 else "a model"
    trained = f"{_count(len(took_part), 'hospital')} trained {together} in {_count(n_rounds, 'round')}."
    left = {
        site["id"]: _missing(site) for site in sites if site["id"] in verdicts["not_estimable"] and site["id"] not in absent
    }
    comparison = _comparison(verdicts) if compared else _ONLY_SUMS if summed else _NOT_COMPARED[private]
    parts = [trained, _absence(absent, len(took_part)), comparison, _left(left)]
    return {
        "sentence": " ".join(part for part in parts if part),
        "aggregated_sites": took_part,
        "never_trained": absent,
        "n_rounds": n_rounds,
        "versus_alone": verdicts,
    }


_NOT_COMPARED = {
    False: "It was not compared with models that hospitals trained alone.",
    True: "Whether a hospital's own model would rank as well was not measured: the scores of a model trained without noise may "
    "not leave a hospital.",
}
_ONLY_SUMS = (
    "Whether taking part was worth it for a single hospital was not measured: the plan lets only sums of scores leave "
    "(evaluation.scores: summed)."
)


def _absence(absent: Mapping[str, str], n_trained: int) -> str:
    """Names every hospital that never trained; with reasons, unless there are many."""
    if not absent:
        return ""
    if len(absent) == 1:
        ((site, reason),) = absent.items()
        nth = _ORDINALS[n_trained] if n_trained < len(_ORDINALS) else "Another"
        return f"{nth} hospital, {site}, never took part in training: {as_clause(reason)}."
    named = (f"{site} ({as_clause(reason)})" if len(absent) <= _MOST_REASONS else site for site, reason in absent.items())
    return f"{len(absent)} more hospitals never took part in training: {', '.join(named)}."


def _comparison(verdicts: Mapping[str, Sequence[str]]) -> str:
    better, worse, unclear, _ = (len(verdicts[name]) for name in _VERDICTS)
    enough = better + worse + unclear
    if enough == 0:
        return "At no hospital can be said whether it ranks test images better than that hospital's own model."
    if enough == 1:
        said = "better than" if better else "worse than" if worse else "neither clearly better nor clearly worse than"
        return f"At the one hospital that can be compared it ranks test images {said} that hospital's own model."
    among = f"the {enough} hospitals"
    parts = [f"At {better} of {among} that can be compared it ranks test images better than that hospital's own model"]
    if unclear:
        parts.append(f"at {unclear} the difference is not clear")
    if worse:
        parts.append(f"at {worse} it ranks them worse")
    return "; ".join(parts) + "."


_LEFT = {
    "too_few_images": (" has too few test images to tell.", " have too few test images to tell."),
    "one_patient": (
        " has test images of one patient only in a class, so nothing can be said.",
        " have test images of one patient only in a class, so nothing can be said.",
    ),
    "small_cell": (
        " has so few test images or patients of a class that its figures are withheld.",
        " have so few test images or patients of a class that their figures are withheld.",
    ),
    "complement": (
        "'s figures are withheld, as they would give those of another away.",
        " have figures that are withheld, as they would give those of another away.",
    ),
    "": (
        " could not be compared: a score or its own model is missing.",
        " could not be compared: scores or own models are missing.",
    ),
}


def _missing(site: dict[str, Any]) -> str:
    """Why a hospital that trained has no verdict: a key of _LEFT."""
    models = [site["auroc"], site["alone"]]
    whys = [one.get("why") for one in models if one and one["value"] is None]
    return next((why for why in whys if why in _LEFT), "")


def _left(whys: Mapping[str, str]) -> str:
    counts = {why: list(whys.values()).count(why) for why in _LEFT}
    return " ".join(_count(n, "hospital") + _LEFT[why][n > 1] for why, n in counts.items() if n)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")
