"""The audit in words: why a figure is missing, what is compared, and what may be said of a difference."""

from __future__ import annotations

from typing import Any

from evaluation.report import missing as single

_WHY = {
    "small_cell": "not shown: fewer than {k} cases in a cell",
    "complement": "not shown: it would give away a smaller group",
    "too_few": "too few cases",
    "too_few_images": "too few images",
    "too_much_noise": "too few for the noise",
    "no_sum": "no sum was opened",
    "no_solution": "cannot be fitted",
    "not_shown": "not shown",
    "unknown": "its patients may be anyone",
}
_FAMILIES = {"all": "Everyone", "site": "Hospital", "sex": "Sex", "age": "Age, years", "model": "Scanner model"}
FIGURES = {
    "auroc": "AUROC",
    "sensitivity": "Sensitivity (equal opportunity)",
    "false_positive_rate": "False positive rate",
    "equalised_odds": "Equalised odds (the larger of both gaps)",
    "underdiagnosis": "Underdiagnosis (ill, called healthy)",
    "calibration_slope": "Calibration slope",
    "calibration_intercept": "Calibration intercept",
    "observed_expected": "Observed / expected",
}
# A sign and words, so that nothing rests on colour alone.
VERDICTS: dict[str | None, tuple[str, str]] = {
    None: ("–", "no margin in the plan"),
    "pass": ("✓", "within the margin"),
    "fail": ("✗", "beyond the margin"),
    "insufficient": ("?", "cannot be told"),
}
_STATES = {"ok": ("✓", "holds"), "failed": ("✗", "does not hold"), "not_checked": ("?", "not checked")}


def family(attribute: str) -> str:
    """`sex × age` as a heading: Sex × age."""
    return _FAMILIES.get(attribute, attribute[:1].upper() + attribute[1:])


def figure_name(figure: str) -> str:
    """What is compared, as people read it."""
    return FIGURES.get(figure, figure.replace("_", " "))


def why_missing(estimate: dict[str, Any] | None, smallest_cell: int) -> str:
    """What stands in the place of a figure that is not there; every reason has words, an unknown one its own name."""
    if estimate is None:
        return "not measured"
    why = estimate.get("why")
    if why is None:
        return "not estimable"
    if why in _WHY:
        return _WHY[why].format(k=smallest_cell)
    try:
        return single.missing(estimate)
    except KeyError:
        return str(why).replace("_", " ")


def no_slope(private: bool) -> str:
    """Why a calibration slope has no value though there are cases enough."""
    return "bins too wide for a slope" if private else "no slope fits the scores"


def why_no_slope(estimate: dict[str, Any], smallest_cell: int, private: bool) -> str:
    """As `why_missing`, of a calibration slope."""
    return no_slope(private) if estimate.get("why") == "no_solution" else why_missing(estimate, smallest_cell)


def check_state(check: dict[str, Any]) -> tuple[str, str]:
    """(sign, words) of an entry of `checks`, whose state is `status`, or `ok` (true, false, null)."""
    state = check.get("status")
    if state is None:
        state = {True: "ok", False: "failed"}.get(check.get("ok"), "not_checked")  # type: ignore[arg-type]
    return _STATES.get({"pass": "ok", "fail": "failed"}.get(state, state), ("?", str(state).replace("_", " ")))
