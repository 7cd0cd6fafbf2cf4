"""Which model a report was compared with: the plan names its file, the report the job that it is from.

The hospitals scored the file whose digest the plan holds. That it is the model of another job's report is the aggregator's
word, unless the auditor has the file: then its vector's digest is made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.verify.findings import Findings
from evaluation.verify.opened import Opened
from protocol.baseline import compared_with, released_digest
from protocol.errors import WeightsError

COMPARED = "compared with"


def check_compared(opened: Opened, findings: Findings, told: Mapping[str, Any]) -> None:
    """Hold `model.compared_with` of the report against the file, where it is on this machine."""
    file, said = compared_with(opened.plan), told["model"].get("compared_with")
    if file is None:
        if said is not None:
            findings.add("broken", COMPARED, "report", "the report names a model it is compared with; the plan names none.")
        return
    try:
        found = released_digest(file)
    except WeightsError as error:
        text = "that the model in the file the plan names is the one model.compared_with says: the aggregator's word"
        findings.add("unchecked", COMPARED, "", f"{text} ({error})")
        return
    if found is None:
        text = "the file that the plan names is no job's released model, so its own digest is the aggregator's word"
        findings.add("unchecked", COMPARED, "", text)
    elif found != said:
        findings.add(
            "broken", COMPARED, "report", f"model.compared_with is {said}; the file that the plan names holds {found}."
        )
    else:
        findings.add("ok", COMPARED, "", f"the model in the file that the plan names is {found[7:19]}, as the report says")
