"""report.json against what the bundle says it should be."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from evaluation.report.build import build_report
from evaluation.report.finish import finished
from evaluation.verify.compared import check_compared
from evaluation.verify.entry import evidence_entry
from evaluation.verify.findings import Findings
from evaluation.verify.opened import Opened
from evaluation.verify.rebuild import rebuilt
from protocol.canonical import digest_bytes
from protocol.errors import EvidenceError
from protocol.evidence import bundle as names

REPORT = "report"
_SLACK = 1.5e-6  # figures are rounded to 6 decimals, and two machines may round apart
_MOST = 5  # differences that are named at each place
_WITHOUT = ("schema_version", "job", "title", "intended_use", "plan", "privacy", "lineage", "rounds", "software")
_OF_SCORES = ("validation", "validation_global")
_WORD = "when it was written, the network and size of the model, times, losses and bytes: the aggregator's word, signed by it"


def check_figures(opened: Opened, findings: Findings, report: bytes | None, signed: str | None) -> None:
    """Recompute everything that report.json claims and compare. `report` is its bytes, `signed` its digest in the index."""
    if report is None:
        findings.add("unchecked", REPORT, "", "no report.json was given, so none was compared.")
        if opened.restricted:
            _only_rebuild(opened, findings)
        return
    with findings.checking(REPORT, REPORT):
        check_compared(opened, findings, json.loads(report))
    before = len(findings.found)
    if signed is not None and digest_bytes(report) != signed:
        findings.add("broken", REPORT, REPORT, "it is not the report.json that the aggregator signed with this evidence.")
    with findings.checking(REPORT, REPORT):
        told = json.loads(report)
        whole = opened.restricted
        fresh = finished(_with_evidence(build_report(rebuilt(opened, told, restricted=whole)), told, opened))
        if not whole:
            fresh, told = _without_scores(fresh), _without_scores(told)
        _compare(findings, fresh, told)
    if not opened.restricted:
        text = "restricted/ is not here: figures made from scores, counts of patients and sums were not made again."
        findings.add("unchecked", REPORT, "", text)
    findings.add("unchecked", REPORT, "", _WORD)
    findings.counted(REPORT, "report.json is signed, and says what follows from the evidence", before)


def _only_rebuild(opened: Opened, findings: Findings) -> None:
    """Without a report the sums can still be opened and the figures made."""
    before = len(findings.found)
    with findings.checking("figures", names.AGGREGATOR):
        build_report(rebuilt(opened, {"generated_at": "1970-01-01T00:00:00+00:00", "model": {}}, restricted=True))
    findings.counted("figures", "figures can be made from the silos' releases", before)


def _with_evidence(fresh: dict[str, Any], told: Mapping[str, Any], opened: Opened) -> dict[str, Any]:
    """What a report says of its evidence follows from the evidence too."""
    if "evidence" not in told:
        return fresh
    signed = opened.cosignatures
    return fresh | evidence_entry(opened.file(names.CHECKPOINT), opened.checkpoint, tuple(signed.signed), signed.failures)


def _without_scores(report: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: report[key] for key in _WITHOUT}
    kept["lineage"] = {key: value for key, value in report["lineage"].items() if key != "store_digests"}
    kept["rounds"] = [{key: value for key, value in one.items() if key not in _OF_SCORES} for one in report["rounds"]]
    return kept


def _compare(findings: Findings, fresh: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    differing: dict[str, list[str]] = {}
    for path, wanted, found in _differences(json.loads(json.dumps(fresh)), told, ""):
        text = f"{path} is {_shown(found)}; from the evidence follows {_shown(wanted)}."
        differing.setdefault(_whose(path, told), []).append(text)
    for who, texts in differing.items():
        for text in texts[:_MOST]:
            findings.add("broken", REPORT, who, text)
        if len(texts) > _MOST:
            findings.add("broken", REPORT, who, f"{len(texts) - _MOST} more values differ.")


def _differences(wanted: Any, found: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted(wanted.keys() | found.keys()):
            here = f"{path}.{key}" if path else str(key)
            yield from _differences(wanted.get(key, _NOTHING), found.get(key, _NOTHING), here)
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif _number(wanted) and _number(found):
        if not math.isclose(wanted, found, rel_tol=_SLACK, abs_tol=_SLACK):
            yield path, wanted, found
    elif type(wanted) is not type(found) or wanted != found:
        yield path, wanted, found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_NOTHING = "nothing"


def _shown(value: Any) -> str:
    text = value if value is _NOTHING else json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _whose(path: str, told: Mapping[str, Any]) -> str:
    """The hospital whose entry differs, else the report."""
    if not path.startswith("sites["):
        return REPORT
    try:
        return str(told["sites"][int(path[6 : path.index("]")])]["id"])
    except (LookupError, TypeError, ValueError) as error:
        raise EvidenceError(f"the report's {path} cannot be read.") from error
