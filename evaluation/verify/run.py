"""All checks of one bundle, in the order in which they rest on each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from evaluation.report.arithmetic import other_arithmetic
from evaluation.verify.approvals import check_approvals
from evaluation.verify.beside import check_beside
from evaluation.verify.course import check_agreement, check_charges, check_told
from evaluation.verify.figures import check_figures
from evaluation.verify.findings import Findings
from evaluation.verify.opened import Opened
from evaluation.verify.signed import check_chains, check_cosignatures, check_index, check_roster
from protocol.canonical import digest_bytes
from protocol.errors import InputError
from protocol.evidence import bundle as names
from protocol.evidence.keys import SiteKeys


def verify(bundle: Path, keys: SiteKeys, report: Path | None = None, decisions: Mapping[str, bytes] | None = None) -> Findings:
    """Every finding about the folder `bundle`; `report` is the job's report.json, `decisions` the officers' of some silos.

    The model's file and the page are looked at where they lie beside `report`.

    Raises InputError if one cannot be read, or this release reckons by other formulas than the report's.

    Reads files, writes nothing and reaches no network. What is broken in one place does not keep the other checks from running.
    """
    opened = Opened.at(bundle, keys)
    findings = verify_opened(opened, None if report is None else report.read_bytes(), decisions)
    if report is not None:
        check_beside(opened, findings, report)
    return findings


def verify_opened(opened: Opened, report: bytes | None, decisions: Mapping[str, bytes] | None = None) -> Findings:
    """As `verify`, on files that were read before."""
    findings = Findings()
    signed: str | None = None
    with findings.checking("files", names.AGGREGATOR):
        signed = check_index(opened, findings)
    checks: dict[str, Callable[[Opened, Findings], None]] = {
        "plan": _check_plan,
        "roster": check_roster,
        "receipts": check_chains,
        "approvals": partial(check_approvals, decisions=decisions or {}),
        "cosignatures": check_cosignatures,
        "models": check_agreement,
        "rounds": check_told,
        "charges": check_charges,
    }
    for check, done in checks.items():
        with findings.checking(check, names.AGGREGATOR):
            done(opened, findings)
    why = _other_arithmetic(report, signed)
    if why and findings.sound:
        raise InputError(f"{why}. All else holds, but what cannot be made again was not checked.")
    with findings.checking("report", names.AGGREGATOR):
        check_figures(opened, findings, None if why else report, signed)
    if why:
        findings.add("unchecked", "report", "report", f"{why}.")
    return findings


def _check_plan(opened: Opened, findings: Findings) -> None:
    findings.add("ok", "plan", "", f"{opened.plan.name}, {opened.plan.digest[7:19]}: the one that every silo took part in")


def _other_arithmetic(report: bytes | None, signed: str | None) -> str:
    """Why the report's figures cannot be made again; empty if they can, or if it is not the report that was signed."""
    if report is None or signed != digest_bytes(report):
        return ""
    try:
        told = json.loads(report)
    except ValueError:  # the check of the report says what is wrong with it
        return ""
    return other_arithmetic(told) if isinstance(told, dict) else ""
