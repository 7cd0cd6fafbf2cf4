"""What a researcher reads first in MLflow: the outcome as a table, and where the curves are."""

from __future__ import annotations

from typing import Any

_HOW = (
    "Curves: tick this run and its silos (open the **+** beside it), then *Chart view*: {overlays} "
    "overlay the silos and the whole. Full report: the artifact `report/report.html`."
)


def note(report: dict[str, Any]) -> str:
    """Markdown for the parent run's overview, from report.json alone."""
    if report["performance"]["sums"] is not None:
        return _note_of_sums(report)
    if report["privacy"]["mechanism"] != "none":
        return _private_note(report)
    rows = ["| hospital | train | test | federated | alone | personalised |", "|---|--:|--:|--:|--:|--:|"]
    for site in report["sites"]:
        cells = " | ".join(_cell(site.get(key)) for key in ("auroc", "alone", "personalised"))
        train, test = ("–" if site[key] is None else str(site[key]) for key in ("n_train", "n_test"))
        rows.append(f"| {site['id']} | {train} | {test} | {cells} |")
    rows.append(f"| **all together** | | | **{_cell(report['performance']['global']['auroc'])}** | | |")
    how = _HOW.format(overlays="`val/auroc` and `train/loss`")
    return "\n".join(["AUROC on test images, 95% interval.", "", *rows, "", how])


def _private_note(report: dict[str, Any]) -> str:
    """Without counts and without other models: neither leaves a hospital under a private plan."""
    privacy = report["privacy"]
    rows = ["| hospital | federated |", "|---|--:|"]
    rows += [f"| {site['id']} | {_cell(site['auroc'])} |" for site in report["sites"]]
    rows.append(f"| **all together** | **{_cell(report['performance']['global']['auroc'])}** |")
    promised = f"**{privacy['statement']}.** {privacy['warning']}".strip()
    how = _HOW.format(overlays="`val/auroc`, and beside it half its interval,")
    how += " `privacy/epsilon` is what a patient had paid by then."
    head = [promised, "", "AUROC on test patients from noised counts, 95% interval."]
    return "\n".join([*head, "", *rows, "", how])


def _note_of_sums(report: dict[str, Any]) -> str:
    """One row a model: the plan lets no figure of a single hospital leave."""
    private = report["privacy"]["mechanism"] != "none"
    rows = ["| model | all together | hospitals in the sum |", "|---|--:|---|"]
    rows += [
        f"| {one['kind']} | {_cell(one['auroc'])} | {', '.join(one['sites']) or 'no sum'} |"
        for one in report["performance"]["sums"]
    ]
    head = [f"**{report['privacy']['statement']}.** {report['privacy'].get('warning', '')}".strip(), ""]
    head.append(
        f"AUROC on test {'patients from noised counts' if private else 'images'}, 95% interval. Only sums leave hospitals."
    )
    how = "Curve: `val/auroc` of this run; those of the hospitals hold no scores. Full report: artifact `report/report.html`."
    return "\n".join([*head, "", *rows, "", how])


def _cell(estimate: dict[str, Any] | None) -> str:
    if estimate is None or estimate.get("value") is None:
        return "–"
    return f"{estimate['value']:.3f} ({estimate['lo']:.2f}–{estimate['hi']:.2f})"
