"""The model card: what somebody who finds the model in MLflow's registry must know before using it, from report.json alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from evaluation.report.audit_words import family, figure_name, why_missing
from evaluation.report.missing import count_words
from evaluation.report.own_code import own_code

_LONGEST = 4900  # characters of a version's description: MLflow's store keeps 5,000
_MARKDOWN = re.compile(r"([\\`*_{}\[\]|])")


def model_card(report: dict[str, Any]) -> str:
    """Markdown: intended use, what was trained on whom, figures by hospital and group, privacy, limits."""
    return "\n".join(_lines(report)) + "\n"


def description(report: dict[str, Any]) -> str:
    """The card as far as a registered version's description holds; the artifact holds the whole."""
    card = model_card(report)
    if len(card) <= _LONGEST:
        return card
    whole = card[:_LONGEST].rsplit("\n", 1)[0]
    return f"{whole}\n\n… cut here; the whole card is the run's artifact `model-card.md`.\n"


def card_tags(report: dict[str, Any]) -> dict[str, str]:
    """Tags of the version: what one searches or sorts by."""
    privacy, worst = report["privacy"], report["performance"]["worst_site"]
    audit = report.get("audit") or {}
    tags = {
        "fl.job": report["job"],
        "fl.plan_digest": report["plan"]["digest"],
        "fl.model_digest": report["model"]["digest"],
        "fl.mechanism": privacy["mechanism"],
        "fl.epsilon": str(privacy["epsilon"]),
        "fl.fairness": (audit.get("fairness") or {}).get("verdict", "not measured"),
    }
    if worst is not None and worst["auroc"]["value"] is not None:
        tags |= {"fl.worst_site": worst["id"], "fl.worst_site_auroc": f"{worst['auroc']['value']:.6f}"}
    return tags


def _lines(report: dict[str, Any]) -> Iterator[str]:
    yield f"# {_text(report['title'] or report['job'])}"
    yield f"\n{_text(report['outcome']['sentence'])}"
    yield f"\n**Intended use.** {_text(report['intended_use'] or 'Not stated in the plan.')}"
    yield "\n## Model\n"
    yield f"- network {_text(str(report['model'].get('network')))}, {report['model'].get('n_parameters', 0):,} weights"
    yield f"- digest `{report['model']['digest']}`, plan `{report['plan']['digest']}`, job {_text(report['job'])}"
    if (told := own_code(report["plan"]["content"])) is not None:
        yield f"- {_text(told)}"
    yield "\n## Data\n"
    yield from _data(report)
    yield "\n## Performance\n"
    yield from _performance(report)
    yield "\n## Privacy\n"
    yield f"- {_text(report['privacy']['statement'])}"
    yield from (f"- not protected against: {_text(one)}" for one in report["privacy"]["does_not_protect"][:2])
    yield "\n## Limits\n"
    yield from (f"- {_text(one)}" for one in report["limitations"])
    yield f"\nNot evaluated: {_text('; '.join(report['not_evaluated']))}."


def _data(report: dict[str, Any]) -> Iterator[str]:
    if report["privacy"]["mechanism"] != "none":
        yield f"{report['cohort']['n_sites']} hospitals; under differential privacy they release no counts of their cohorts."
        return
    yield "| hospital | patients | train | validate | test | scanners |\n|---|--:|--:|--:|--:|---|"
    for site in report["sites"]:
        counts = " | ".join(count_words(site[key], site, key) for key in ("n_patients", "n_train", "n_validation", "n_test"))
        yield f"| {_text(site['id'])} | {counts} | {_text(', '.join(site['manufacturers']) or 'unknown')} |"


def _performance(report: dict[str, Any]) -> Iterator[str]:
    overall = report["performance"]
    yield "| AUROC, 95% interval | |\n|---|--:|"
    yield f"| all hospitals pooled | {_estimate(overall['global']['auroc'])} |"
    yield f"| within hospitals | {_estimate(overall['stratified']['auroc'])} |"
    if overall["sums"] is None:
        yield from (f"| hospital {_text(site['id'])} | {_estimate(site['auroc'])} |" for site in report["sites"])
    audit = report.get("audit")
    if audit is None or not audit["classes"]:
        yield "\nBy group of patients: not measured."
        return
    for one in audit["classes"]:
        for group in one["groups"]:
            if group["attribute"] not in ("all", "site"):
                name = f"{one['name']}, {family(group['attribute']).lower()} {group['value']}"
                yield f"| {_text(name)} | {_estimate(group['auroc'], audit['smallest_cell'])} |"
    yield f"\nFairness, against the plan's margins: **{audit['fairness']['verdict']}**."
    for test in audit["fairness"]["tests"]:
        if test["verdict"] == "fail" and not test.get("same_as"):  # what follows from others may have no gap of its own
            gap = test["gap"]
            yield (
                f"- {figure_name(test['figure'])} of {_text(test['class'])} by {test['attribute']}: gap {gap['value']:.3f} "
                f"({gap['lo']:.3f} to {gap['hi']:.3f}), {_text(test['lowest'])} to {_text(test['highest'])}"
            )


def _estimate(one: dict[str, Any], smallest_cell: int = 11) -> str:
    if one["value"] is None:
        return why_missing(one, smallest_cell)
    return f"{one['value']:.3f} ({one['lo']:.3f}–{one['hi']:.3f})"


def _text(text: str) -> str:
    """What people wrote, on one line and without meaning as Markdown."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", plain)
