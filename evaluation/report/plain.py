"""The first page in plain words: what was trained, on whom, how well and for whom, at what cost, what was not evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.report.audit_words import figure_name, why_missing
from evaluation.report.missing import count_words

Answer = Mapping[str, Any]  # question, sentences
_NAMED = 6  # at most so many names in a sentence
_BINS_MATTER = 0.25  # share of an interval's length from which what bins can move is said beside it


def plain_summary(report: dict[str, Any]) -> list[Answer]:
    """Five questions with their answers in sentences, from the report alone; for reports with an audit."""
    return [
        {"question": "What was trained?", "sentences": _trained(report)},
        {"question": "On whom?", "sentences": _on_whom(report)},
        {"question": "How well?", "sentences": _how_well(report)},
        {"question": "For whom?", "sentences": _for_whom(report)},
        {"question": "At what cost to privacy?", "sentences": _privacy(report)},
        {"question": "What was not evaluated?", "sentences": _not_evaluated(report)},
    ]


def _trained(report: dict[str, Any]) -> list[str]:
    sites, rounds = report["outcome"]["aggregated_sites"], report["outcome"]["n_rounds"]
    model, size = report["model"].get("network", "a network"), report["model"].get("n_parameters")
    classes = report["cohort"]["class_names"]
    finds = (
        f"to tell {_class(classes[1])} from {_class(classes[0])}" if len(classes) == 2 else f"to tell {_some(classes)} apart"
    )
    weights = "" if not isinstance(size, int) else f" ({size:,} weights)"
    return [
        f"{_article(str(model))} {model}{weights}, {finds}, by {_count(len(sites), 'hospital')} in {_count(rounds, 'round')}."
    ]


def _on_whom(report: dict[str, Any]) -> list[str]:
    cohort, audit = report["cohort"], report["audit"]
    hospitals = _count(cohort["n_sites"], "hospital")
    if report["privacy"]["mechanism"] == "none":
        patients, images = (count_words(cohort[key], cohort, key) for key in ("n_patients", "n_test"))
        said = [f"{patients} patients of {hospitals}."]
        said.append(f"Tested on {images} images of patients kept out of training.")
    else:
        tested = sum(one["value"] for one in (cohort["test_patients"] or {}).values())
        said = [f"Patients of {hospitals}; how many is not released."]
        said.append(f"Tested on {f'about {tested:,} ' if tested else ''}patients kept out of training.")
    known = [one for one in audit["missingness"] if one["unknown"]["value"] is not None]
    hidden = [one["attribute"] for one in audit["missingness"] if one["unknown"]["value"] is None]
    shares = [f"{one['attribute']} {100 * max(0.0, one['unknown']['value']):.0f}%" for one in known]
    if shares:
        said.append(f"Not recorded: {', '.join(shares)}.")
    if hidden:
        said.append(f"How often {_list(hidden)} is not recorded cannot be shown.")
    return said


def _how_well(report: dict[str, Any]) -> list[str]:
    audit = report["audit"]
    if not audit["classes"]:
        return [f"Not measured: {audit['reason'] or 'no sum over the hospitals was opened'}."]
    return [sentence for one in audit["classes"] for sentence in _of_class(one, audit)]


def _of_class(one: dict[str, Any], audit: dict[str, Any]) -> list[str]:
    everyone = next((group for group in one["groups"] if group["attribute"] == "all"), None)
    auroc = everyone["auroc"] if everyone else None
    if everyone is None or auroc is None or auroc["value"] is None:
        return [f"{one['name']}: {why_missing(auroc, audit['smallest_cell'])}."]
    interval = f"95% interval {auroc['lo']:.3f} to {auroc['hi']:.3f}"
    cases = "patients" if audit["epsilon"] is not None else "images"
    said = [
        f"Of two {cases}, one with {_class(one['name'])} and one without, it scores the right one higher in "
        f"{100 * auroc['value']:.0f} of 100 pairs (AUROC {auroc['value']:.3f}, {interval}; 50 is a coin toss)."
    ]
    bound = auroc.get("binning_bound") or 0.0
    if bound > _BINS_MATTER * (auroc["hi"] - auroc["lo"]):
        said.append(
            f"Scores were counted in {audit['bins']} bins, and cases in one bin count as ties: with exact scores the AUROC may "
            f"be up to {min(bound, 1.0 - auroc['value']):.3f} higher, seldom lower. The interval does not hold that."
        )
    point = everyone["operating_points"][0] if everyone["operating_points"] else None
    if point and point["sensitivity"]["value"] is not None and point["specificity"]["value"] is not None:
        found, calm = point["sensitivity"], point["specificity"]
        said.append(
            f"Called from a score of {point['threshold']:g}, it finds {100 * found['value']:.0f} of 100 with "
            f"{_class(one['name'])} ({_percents(found)}) and leaves {100 * calm['value']:.0f} of 100 without it uncalled "
            f"({_percents(calm)})."
        )
    return said


def _for_whom(report: dict[str, Any]) -> list[str]:
    audit, said = report["audit"], []
    for one in audit["classes"]:
        shown = [g for g in one["groups"] if g["attribute"] != "all" and g["auroc"]["value"] is not None]
        if len(shown) > 1:
            low = min(shown, key=lambda group: group["auroc"]["value"])
            said.append(
                f"It ranks {_class(one['name'])} worst for {low['value']} ({low['attribute']}): "
                f"AUROC {low['auroc']['value']:.3f} ({low['auroc']['lo']:.3f} to {low['auroc']['hi']:.3f})."
            )
    fairness = audit["fairness"] or {"tests": []}
    tests = [test for test in fairness["tests"] if test["verdict"] is not None and not test.get("same_as")]
    failed = [test for test in tests if test["verdict"] == "fail"]
    unclear = sum(test["verdict"] == "insufficient" for test in tests)
    unmeasured = sum(test["verdict"] == "insufficient" and test["gap"]["value"] is None for test in tests)
    if failed:
        named = [
            f"{figure_name(test['figure'])} by {test['attribute']} ({test['lowest']} to {test['highest']})" for test in failed
        ]
        found = f"{_count(len(failed), 'difference')} of {len(tests)} beyond the plan's margin"
        said.append(f"It does not serve all groups alike: {found}: {_some(named, '; ')}.")
    elif tests and not unclear:
        said.append(f"All {len(tests)} differences between groups that were tested lie within the plan's margins.")
    if unclear:
        few = f"for {unclear - unmeasured} of {len(tests)} differences the test patients are too few to tell"
        none = f"{unmeasured} of {len(tests)} could not be measured"
        parts = [few] * (unclear > unmeasured) + [none] * (unmeasured > 0)
        said.append(f"{_capital(', and '.join(parts))}, which is no sign of fairness.")
    if not tests:
        said.append("No difference between groups could be tested.")
    return said


def _privacy(report: dict[str, Any]) -> list[str]:
    privacy, audit = report["privacy"], report["audit"]
    if privacy["mechanism"] == "none":
        said = [
            "There is no differential privacy (epsilon: infinite): nothing limits what the model tells of a training patient."
        ]
    else:
        said = [_capital(str(privacy["statement"])).rstrip(".") + "."]
    if audit["epsilon"] is not None:
        said.append(f"The audit itself cost a test patient epsilon {audit['epsilon']:g}; test patients never train.")
    if privacy["secure_aggregation"]:
        said.append("Single hospitals' updates were masked: only their sum could be opened.")
    if audit["epsilon"] is not None:
        return said
    hidden = f"Figures by group hide every count from 1 to {audit['smallest_cell'] - 1}"
    said.append(f"{hidden}, and so do the hospitals' own; the others are exact, so keep this report inside the consortium.")
    return said


def _not_evaluated(report: dict[str, Any]) -> list[str]:
    hidden: list[str] = []
    for one in report["audit"]["classes"]:
        hidden += [f"{g['attribute']} {g['value']}" for g in one["groups"] if g["auroc"]["value"] is None]
    hidden = list(dict.fromkeys(hidden))
    said = [_capital("; ".join(report["not_evaluated"])) + "."]
    if hidden:
        private = report["audit"]["epsilon"] is not None
        small = "too small for the noise" if private else "not shown, as they are small or would give a small one away"
        said.append(f"{_count(len(hidden), 'group')} {small}: {_some(hidden)}.")
    return said


def _percents(estimate: dict[str, Any]) -> str:
    return f"{100 * estimate['lo']:.0f} to {100 * estimate['hi']:.0f}"


def _some(names: Sequence[str], between: str = ", ") -> str:
    shown = between.join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _class(name: str) -> str:
    """A class in a sentence: a plan without `class_names` calls it by its label, often a bare number."""
    return f"class {name}" if name.isdigit() else name


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def _article(word: str) -> str:
    return "An" if word[:1].upper() in "AEIO" else "A"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
