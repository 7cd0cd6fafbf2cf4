"""Which numbers of single hospitals a report with an audit keeps back, so that what the audit withholds is not elsewhere in it.

As in the audit: a number of 1 to smallest_cell - 1 images or patients is withheld, and so is every other from which one could
be worked out (evaluation.audit.protection). Known are the sums over hospitals, that the images of a hospital's classes are all
its images, and what the audit says of groups; what it withholds of a hospital is withheld here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from evaluation.audit.protection import Relation, Table, withheld
from evaluation.measure import AnyScores, class_aurocs
from evaluation.report.inputs import RoundSummary

Why = Literal["small_cell", "complement"]
Key = tuple[str, str]  # site, or one of the two below, and the name of a number
TOTAL, _KNOWN = "", "\0"
COUNTS = ("n_patients", "n_train", "n_validation", "n_test")
_NEGATIVE = "\0negatives "
_CLASS, _POSITIVE = "class_counts_train.", "positives_test."


@dataclass(frozen=True)
class Held:
    """What is withheld, by site (TOTAL: all together) and name: `n_test`, `class_counts_train.<class>`, ..."""

    numbers: Mapping[Key, Why] = field(default_factory=dict)

    def of(self, site: str) -> dict[str, Why]:
        """The names withheld of one site, with the reason."""
        return {name: why for (whose, name), why in self.numbers.items() if whose == site}

    def figures(self, site: str) -> dict[str, Why]:
        """The scored classes of which a site's figures are withheld, with the reason."""
        return {name.removeprefix(_POSITIVE): why for name, why in self.of(site).items() if name.startswith(_POSITIVE)}


@dataclass
class _Numbers:
    """The table as it is being written down."""

    values: dict[Key, int] = field(default_factory=dict)
    people: dict[Key, int] = field(default_factory=dict)
    sums: list[tuple[Key, list[Key]]] = field(default_factory=list)
    outside: set[Key] = field(default_factory=set)

    def add(self, key: Key, value: int, people: int) -> None:
        self.values[key], self.people[key] = value, min(value, people)

    def add_sum(self, whole: Key, parts: list[Key]) -> None:
        """A whole that is the sum of `parts` and is there already, or is written down with them."""
        if not parts:
            return
        if whole not in self.values:
            self.add(whole, sum(self.values[part] for part in parts), sum(self.people[part] for part in parts))
        if self.values[whole] == sum(self.values[part] for part in parts):
            self.sums.append((whole, parts))


def held_back(sites: Sequence[Mapping[str, Any]], audit: Mapping[str, Any] | None, sums: Sequence[Sequence[str]] = ()) -> Held:
    """What of `sites` (entries of report.json) may not be shown beside `audit`; nothing without one, or under noise.

    `sums`: groups of hospitals whose test images are added up elsewhere in the report.
    """
    if audit is None or audit["epsilon"] is not None:
        return Held()
    numbers = _written_down(sites, [*sums, audit["sites_in_sum"]])
    keys, k = list(numbers.values), int(audit["smallest_cell"])
    place = {key: index for index, key in enumerate(keys)}
    said = {key: why for key, why in _by_audit(audit).items() if key in place}
    table = Table(
        np.array([[numbers.values[key]] for key in keys], dtype=np.int64),
        np.array([[numbers.people[key]] for key in keys], dtype=np.int64),
        tuple(Relation(place[whole], tuple(place[part] for part in parts)) for whole, parts in numbers.sums),
        k,
        outside=frozenset(place[key] for key in numbers.outside),
    )
    hidden, small = withheld(table, np.array([key in said for key in keys], dtype=np.bool_))
    found: dict[Key, Why] = {}
    for key, gone, few in zip(keys, hidden, small, strict=True):
        if gone and key not in numbers.outside and key[0] != _KNOWN:
            negatives = place.get((key[0], _NEGATIVE + key[1]))
            found[key] = "small_cell" if few or (negatives is not None and small[negatives]) else said.get(key, "complement")
    return Held(found)


def _written_down(sites: Sequence[Mapping[str, Any]], added: Sequence[Sequence[str]]) -> _Numbers:
    numbers = _Numbers()
    for site in sites:
        own = str(site["id"])
        for name in COUNTS:
            numbers.add((own, name), site[name], site["n_patients"])
        groups = {_CLASS: site["class_counts_train"], _POSITIVE: site["positives_test"] or {}}
        for prefix, counts in groups.items():
            for name, count in counts.items():
                numbers.add((own, prefix + name), count, site["n_patients"])
        numbers.add_sum((own, "n_train"), [(own, _CLASS + name) for name in groups[_CLASS]])
        numbers.add_sum((own, "n_test"), [(own, _POSITIVE + name) for name in groups[_POSITIVE]])
        for name, count in groups[_POSITIVE].items():
            rest = (own, _NEGATIVE + _POSITIVE + name)
            numbers.add(rest, max(0, site["n_test"] - count), site["n_patients"])
            numbers.outside.add(rest)
            numbers.add_sum((own, "n_test"), [(own, _POSITIVE + name), rest])
    ids = [str(site["id"]) for site in sites]
    for name in COUNTS:
        numbers.add_sum((TOTAL, name), [(own, name) for own in ids])
    for index, among in enumerate(added):
        members = [own for own in ids if own in among]
        if sorted(members) != sorted(ids):
            numbers.add_sum((_KNOWN, f"n_test {index}"), [(own, "n_test") for own in members])
        for name in dict.fromkeys(key[1] for key in numbers.values if _POSITIVE in key[1] and key[0] != _KNOWN):
            parts = [(own, name) for own in members if (own, name) in numbers.values]
            numbers.add_sum((_KNOWN, f"{name} {index}"), parts)
    return numbers


def _by_audit(audit: Mapping[str, Any]) -> dict[Key, Why]:
    """The audit shows a hospital's images and positives together or not at all; its images too while any class is shown."""
    found: dict[Key, Why] = {}
    shown: set[str] = set()
    held: set[str] = set()
    for one in audit["classes"]:
        for group in one["groups"]:
            if group["attribute"] != "site":
                continue
            if group["why"] in ("small_cell", "complement"):
                found[group["value"], _POSITIVE + one["name"]] = group["why"]
                held.add(group["value"])
            else:
                shown.add(group["value"])
    return found | {(site, "n_test"): "complement" for site in held if site not in shown}


def without_numbers(site: Mapping[str, Any], held: Held) -> dict[str, Any]:
    """The entry of one hospital without what is withheld; `withheld` names it."""
    gone, figures = held.of(str(site["id"])), held.figures(str(site["id"]))
    if not gone:
        return dict(site)
    entry = dict(site) | {name: None for name in COUNTS if name in gone} | {"withheld": dict(sorted(gone.items()))}
    for key, prefix in (("class_counts_train", _CLASS), ("positives_test", _POSITIVE)):
        entry[key] = site[key] and {name: None if prefix + name in gone else n for name, n in site[key].items()}
    return without_figures(entry, figures)


def without_figures(site: Mapping[str, Any], figures: Mapping[str, Why]) -> dict[str, Any]:
    """The entry without the AUROCs of the classes `figures`, nor a mean that one of them is in."""
    entry = dict(site)
    classes = site["classes"]
    entry["classes"] = [one | {"auroc": suppressed(one["auroc"], figures.get(one["name"]))} for one in classes]
    in_mean = [one["name"] for one in classes if one["auroc"]["value"] is not None]
    reasons = [why for name, why in figures.items() if not in_mean or name in in_mean]
    if not reasons:
        return entry
    why: Why = "small_cell" if "small_cell" in reasons else "complement"
    for kind in ("auroc", "alone", "personalised"):
        entry[kind] = site[kind] and suppressed(site[kind], why)
    nothing = {"value": None, "lo": None, "hi": None, "verdict": "not_estimable", "method": None}
    entry["versus_alone"] = site["versus_alone"] and {kind: one | nothing for kind, one in site["versus_alone"].items()}
    return entry


def suppressed(estimate: Mapping[str, Any], why: Why | None) -> dict[str, Any]:
    """The estimate without figures, if there is a reason; its band stays."""
    if why is None or estimate.get("why") in ("took_no_part", "no_score", "only_sums"):
        return dict(estimate)
    kept = {name: estimate[name] for name in ("method", "n_band")}
    return {"value": None, "lo": None, "hi": None, **kept, "status": "suppressed", "why": why}


def without_validation(entry: Mapping[str, Any], said: RoundSummary, audit: Mapping[str, Any] | None) -> dict[str, Any]:
    """The entry of one round without AUROCs that rest on 1 to smallest_cell - 1 validation images of a class."""
    if audit is None or audit["epsilon"] is not None:
        return dict(entry)
    few = {site for site, scores in said.validation.items() if rests_on_few(scores, audit["smallest_cell"])}
    shown = {site: suppressed(one, "small_cell" if site in few else None) for site, one in entry["validation"].items()}
    return dict(entry) | {"validation": shown}


def rests_on_few(scores: AnyScores, k: int) -> bool:
    """Whether a class that counts for the headline AUROC has 1 to k - 1 positives or negatives."""
    cells = class_aurocs(scores)
    used = [one for one in cells if one.estimable] or list(cells)
    return any(0 < count < k for one in used for count in (one.n_positive, one.n_negative))


def without_in_mitigation(entry: Mapping[str, Any], held: Held) -> dict[str, Any]:
    """One mitigation, whose figures of single hospitals before and after are withheld where those of the test are."""
    return dict(entry) | {side: _side(entry[side], held) for side in ("before", "after")}


def _side(side: Mapping[str, Any] | None, held: Held) -> dict[str, Any] | None:
    if side is None:
        return None
    if "sites" not in side:  # the shares called keep to the smallest cell by themselves
        return dict(side)
    return dict(side) | {"sites": [_figures_of_site(one, held.figures(one["id"])) for one in side["sites"]]}


def _figures_of_site(one: Mapping[str, Any], figures: Mapping[str, Why]) -> dict[str, Any]:
    if not figures:
        return dict(one)
    why: Why = "small_cell" if "small_cell" in figures.values() else "complement"
    classes = [
        each
        | {"calibration": {name: suppressed(value, figures.get(each["name"])) for name, value in each["calibration"].items()}}
        for each in one["classes"]
    ]
    return dict(one) | {"auroc": suppressed(one["auroc"], why), "loss": None, "classes": classes}
