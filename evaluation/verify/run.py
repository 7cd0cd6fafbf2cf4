"""All checks of one bundle, in the order in which they rest on each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evaluation.verify.course import check_agreement, check_charges, check_told
from evaluation.verify.figures import check_figures
from evaluation.verify.findings import Findings
from evaluation.verify.opened import Opened
from evaluation.verify.signed import check_chains, check_cosignatures, check_index, check_roster
from protocol.evidence import bundle as names
from protocol.evidence.keys import SiteKeys


def verify(bundle: Path, keys: SiteKeys, report: Path | None = None) -> Findings:
    """Every finding about the folder `bundle`; `report` is the job's report.json. Raises InputError if one cannot be read.

    Reads files, writes nothing and reaches no network. What is broken in one place does not keep the other checks from running.
    """
    return verify_opened(Opened.at(bundle, keys), None if report is None else report.read_bytes())


def verify_opened(opened: Opened, report: bytes | None) -> Findings:
    """As `verify`, on files that were read before."""
    findings = Findings()
    signed: str | None = None
    with findings.checking("files", names.AGGREGATOR):
        signed = check_index(opened, findings)
    checks: dict[str, Callable[[Opened, Findings], None]] = {
        "plan": _check_plan,
        "roster": check_roster,
        "receipts": check_chains,
        "cosignatures": check_cosignatures,
        "models": check_agreement,
        "rounds": check_told,
        "charges": check_charges,
    }
    for check, done in checks.items():
        with findings.checking(check, names.AGGREGATOR):
            done(opened, findings)
    with findings.checking("report", names.AGGREGATOR):
        check_figures(opened, findings, report, signed)
    return findings


def _check_plan(opened: Opened, findings: Findings) -> None:
    findings.add("ok", "plan", "", f"{opened.plan.name}, {opened.plan.digest[7:19]}: the one that every silo took part in")
