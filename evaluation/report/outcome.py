"""The one sentence a director reads, and the counts it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_VERDICTS = ("better", "worse", "no_clear_difference", "not_estimable")


def outcome(rounds: Sequence[dict[str, Any]], sites: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """report.json's `outcome`: `sentence`, and the site ids behind each of its counts."""
    took_part = sorted({site for one in rounds for site in one["aggregated"]})
    n_rounds = len({one["round"] for one in rounds if one["aggregated"]})
    compared = [site for site in sites if site["versus_alone"]]
    verdicts = {
        verdict: [site["id"] for site in compared if site["versus_alone"]["federated"]["verdict"] == verdict]
        for verdict in _VERDICTS
    }
    together = "one model together" if len(took_part) > 1 else "a model"
    trained = f"{_count(len(took_part), 'hospital')} trained {together} in {_count(n_rounds, 'round')}."
    sentence = f"{trained} {_comparison(verdicts) if compared else _NOT_COMPARED}"
    return {"sentence": sentence, "aggregated_sites": took_part, "n_rounds": n_rounds, "versus_alone": verdicts}


_NOT_COMPARED = "It was not compared with models that hospitals trained alone."


def _comparison(verdicts: dict[str, list[str]]) -> str:
    better, worse, unclear, unknown = (len(verdicts[name]) for name in _VERDICTS)
    enough = better + worse + unclear
    if enough == 0:
        return "No hospital has enough test images to say whether it ranks patients better than that hospital's own model."
    among = f"the {enough} hospitals" if enough > 1 else "the one hospital"
    parts = [f"At {better} of {among} with enough test images it ranks patients better than that hospital's own model"]
    if unclear:
        parts.append(f"at {unclear} the difference is not clear")
    if worse:
        parts.append(f"at {worse} it ranks them worse")
    left = f" {_count(unknown, 'hospital')} {'has' if unknown == 1 else 'have'} too few test images to tell." if unknown else ""
    return "; ".join(parts) + "." + left


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")
