"""Why a figure is missing, in the words of the page."""

from __future__ import annotations

from typing import Any

_WORDS = {
    "small_cell": "withheld: too few images or patients",
    "complement": "withheld: it would give another number away",
    "too_few_images": "too few test images",
    "one_patient": "images of one patient only",
    "too_much_noise": "too few for the noise",
    "took_no_part": "took no part",
    "no_score": "gave no score",
    "no_site": "no hospital can be measured",
    "only_sums": "not measured: the plan lets only sums leave (evaluation.scores: summed)",
}


def count_words(number: int | None, entry: dict[str, Any], name: str) -> str:
    """A number of images or patients of `entry`, a hospital or the cohort; or that it is withheld, small itself or not."""
    if number is not None:
        return f"{number:,}"
    return "withheld" if name in entry.get("withheld", {}) else "–"


def missing(estimate: dict[str, Any] | None) -> str:
    """What stands in the place of `estimate`'s value; reports of earlier releases do not say why."""
    if estimate is None:
        return "no such model"
    return _WORDS[estimate.get("why", "too_few_images")]
