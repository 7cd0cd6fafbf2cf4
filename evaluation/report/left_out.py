"""In words: which planned comparisons between groups were made, which could not be, and who is missing from the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evaluation.report.audit_words import family, figure_name, no_slope, why_missing

Test = Mapping[str, Any]  # an entry of report.json's audit.fairness.tests
SLOPE, BOTH = "calibration_slope", "equalised_odds"


def comparisons(tests: Sequence[Test], smallest_cell: int, *, private: bool) -> dict[str, Any]:
    """`said` of all together, `unmade` lines for those that could not be made, `missing` for who is absent from the others."""
    several = len({test["class"] for test in tests}) > 1
    unmade = [test for test in tests if not made(test)]
    return {
        "said": _said(len(tests), len(unmade)),
        "unmade": [_unmade(one, smallest_cell, private=private, several=several) for one in _alike(unmade)],
        "missing": _missing([test for test in tests if made(test)], smallest_cell, private=private, several=several),
    }


def with_reasons(tests: Sequence[Test], classes: Sequence[Mapping[str, Any]]) -> list[Test]:
    """The tests with the reason for which each rate itself is not shown; `left_out` calls every withheld rate a small cell."""
    points = {
        (one["name"], group["attribute"], group["value"], point["threshold"]): point
        for one in classes
        for group in one["groups"]
        for point in group["operating_points"]
    }

    def reason(test: Test, name: str, why: str) -> str:
        point = points.get((test["class"], test["attribute"], name, test["threshold"]))
        if why != "small_cell" or point is None:
            return why
        found = {point[rate].get("why") for rate in _rates_of(test)}
        return "complement" if "complement" in found and "small_cell" not in found else why

    return [{**test, "left_out": {name: reason(test, name, why) for name, why in test["left_out"].items()}} for test in tests]


def _rates_of(test: Test) -> tuple[str, ...]:
    figures = test.get("same_as") or test["figure"]
    return tuple(rate for figure, rate in _RATES.items() if figure in figures) or ("sensitivity", "specificity")


_RATES = {"sensitivity": "sensitivity", "false_positive_rate": "specificity"}


def made(test: Test) -> bool:
    """Whether at least two groups had a figure."""
    return test["gap"] is not None and test["gap"]["value"] is not None


def why_unmade(test: Test, private: bool) -> str:
    """In the place of the gap, in a few words."""
    if test.get("same_as"):
        return f"see {test['same_as'].replace('_', ' ')}"
    if test["figure"] == SLOPE and private and "not_estimable" in test["left_out"].values():
        return "bins too wide for slopes"
    return "too few groups with a figure"


def _said(planned: int, unmade: int) -> str:
    if not unmade:
        return (
            f"{planned} comparisons were planned, and all were made." if planned > 1 else "One comparison was planned and made."
        )
    return f"{planned} comparisons were planned; {planned - unmade} could be made and {unmade} could not:"


def _alike(tests: Iterable[Test]) -> list[list[Test]]:
    """Those that the same groups are missing from, for the same reasons, together."""
    found: dict[Any, list[Test]] = {}
    for test in tests:
        apart = test["figure"] if test["figure"] in (SLOPE, BOTH) else ""
        key = test["class"], test["attribute"], apart, tuple(test["groups"]), tuple(test["left_out"].items())
        found.setdefault(key, []).append(test)
    return list(found.values())


def _unmade(alike: Sequence[Test], smallest_cell: int, *, private: bool, several: bool) -> str:
    first, reasons = alike[0], dict[str, list[str]]()
    for name, why in first["left_out"].items():
        reasons.setdefault(_reason(why, first, smallest_cell, private=private), []).append(name)
    parts = [f"{', '.join(names)}: {why}" for why, names in reasons.items()]
    figure = "both rates" if all(test["figure"] == BOTH for test in alike) else "a figure"
    measured = f"only {first['groups'][0]} has {figure}" if first["groups"] else f"no group has {figure}"
    return f"{family(first['attribute'])}, {_figures(alike, several=several)}: {'; '.join([measured, *parts])}."


def _missing(tests: Sequence[Test], smallest_cell: int, *, private: bool, several: bool) -> list[str]:
    """A line for all groups of one attribute that are missing from the same comparisons for the same reason."""
    absences: dict[tuple[str, str, str], list[Test]] = {}
    for test in tests:
        for name, why in test["left_out"].items():
            absences.setdefault((test["attribute"], name, _reason(why, test, smallest_cell, private=private)), []).append(test)
    lines: dict[tuple[str, str, str], list[str]] = {}
    for (attribute, name, why), absent in absences.items():
        of = sum(test["attribute"] == attribute for test in tests)
        where = ("all" if len(absent) == of else f"{len(absent)} of {of}") + f" {family(attribute).lower()} comparisons"
        if of == 1:
            where = f"the {family(attribute).lower()} comparison"
        where += "" if len(absent) == of else f" ({_figures(absent, several=several)})"
        lines.setdefault((attribute, why, where), []).append(name)
    return [f"{', '.join(names)}, from {where}: {why}." for (_, why, where), names in lines.items()]


def _figures(tests: Iterable[Test], *, several: bool) -> str:
    named = []
    for test in tests:
        at = "" if test["threshold"] is None else f" from {test['threshold']:g}"
        named.append((f"{test['class']}, " if several else "") + figure_name(test["figure"]) + at)
    return "; ".join(dict.fromkeys(named))


def _reason(why: str, test: Test, smallest_cell: int, *, private: bool) -> str:
    if test["figure"] == SLOPE and why == "not_estimable":
        return no_slope(private)
    return why_missing({"why": why}, smallest_cell)
