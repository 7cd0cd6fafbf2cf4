"""Approvals: whether everything that left a hospital names one, and whether the officers' decisions, if given, make it.

The decisions themselves hold names and reasons and stay at the hospital, so a bundle has none. An auditor who was given a
hospital's `decisions.jsonl` can have the digest that its receipts name made again from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations

from evaluation.verify.findings import Findings
from evaluation.verify.opened import Opened
from protocol.canonical import digest_json
from protocol.errors import EvidenceError
from protocol.evidence.receipt import LOCAL, REFUSAL, ReleaseReceipt
from protocol.governance.decisions import Decision, check_chain, decode

CHECK = "approvals"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_OFFICERS = 12  # of one hospital; every set of them is tried
_LOCAL = (
    "local: whoever ran the node answered for every plan it was given. That it was the hospital's decision no signature shows."
)


def check_approvals(opened: Opened, findings: Findings, decisions: Mapping[str, bytes]) -> None:
    """`decisions`: of some silos the log of their officers' decisions (decisions.jsonl), as the auditor was given it."""
    before, local, approved, refused = len(findings.found), list[str](), dict[str, str](), dict[str, str]()
    for site, receipts in sorted(opened.receipts.items()):
        with findings.checking(CHECK, site):
            named = _named(site, receipts)
            if number := sum(one.kind == REFUSAL and not one.approval for one in receipts):
                refused[site] = "once" if number == 1 else f"{number} times"
            if LOCAL in named:
                local.append(site)
            if len(named) > 1:
                text = f"what its receipts name as approval changed {len(named) - 1} times or more during the job."
                findings.add("unchecked", CHECK, site, text)
            for one in sorted(named - {LOCAL}):
                if (log := decisions.get(site)) is not None:
                    approved[site] = _officers(_read(log), site, one, opened.checkpoint.plan_digest)
                    continue
                text = f"data officers approved ({one[7:19]}), say its receipts; their decisions were not given (--decisions)."
                findings.add("unchecked", CHECK, site, text)
    if local:
        findings.add("unchecked", CHECK, "", f"{', '.join(local)} - {_LOCAL}")
    for site in sorted(decisions.keys() - {one.name for one in opened.checkpoint.roster}):
        findings.add("unchecked", CHECK, site, "decisions were given, but it is not on the roster of this job.")
    releases = sum(one.kind != REFUSAL for receipts in opened.receipts.values() for one in receipts)
    if approved:
        text = (
            "that these keys are those of the hospital's officers, and how many must agree, its policy says and no signature."
        )
        findings.add("unchecked", CHECK, ", ".join(approved), text)
    findings.counted(CHECK, f"{releases} releases name what approved the job's plan", before)
    for site, text in approved.items():
        findings.add("ok", CHECK, site, text)
    for site, times in refused.items():
        findings.add("ok", CHECK, site, f"refused {times} for want of an approval, and signed a receipt of each refusal")


def _named(site: str, receipts: Sequence[ReleaseReceipt]) -> set[str]:
    """Every approval that a release of `site` names. A refusal may have none: the want of one may be its reason."""
    for one in receipts:
        if one.kind == REFUSAL:
            continue
        if not one.approval:
            raise EvidenceError(f"receipt {one.seq} of {site}: {one.kind} was released without an approval.")
        if one.approval != LOCAL and not _DIGEST.fullmatch(one.approval):
            raise EvidenceError(f"receipt {one.seq} of {site}: what it names as approval is none.")
    return {one.approval for one in receipts if one.kind != REFUSAL}


def _officers(decisions: Sequence[Decision], site: str, approval: str, plan: str) -> str:
    """Who made `approval` of `plan` at `site`. Raises EvidenceError if the decisions do not make it, or not of this plan."""
    short = approval[7:19]
    for wanted, made in _approvals(decisions, site):
        if digest_json(sorted(one.digest for one in made)) != approval:
            continue
        if wanted != plan:
            raise EvidenceError(f"the approval {short} that its receipts name is of another plan, {wanted[7:19]}.")
        who = ", ".join(f"{one.officer} (key {one.officer_key[:12]}, until {one.expires})" for one in made)
        return f"approval {short} is made by the decisions that were given: approved by {who}"
    raise EvidenceError(f"the decisions that were given do not make the approval {short} that its receipts name.")


def _read(log: bytes) -> tuple[Decision, ...]:
    decisions = tuple(decode(line) for line in log.split(b"\n") if line)
    check_chain(decisions)
    return decisions


def _approvals(decisions: Sequence[Decision], site: str) -> Iterator[tuple[str, tuple[Decision, ...]]]:
    """(plan, decisions) of all that may ever have been an approval at `site`, the officers' newest words counting.

    Which approvals had ended at a release no receipt says, so every set of those that were given counts.
    """
    words: dict[str, dict[str, Decision]] = {}
    for one in decisions:
        if one.hospital != site:
            continue
        of_plan = words.setdefault(one.plan_digest, {})
        of_plan[one.officer] = one
        given = sorted((said for said in of_plan.values() if said.verdict == "approve"), key=lambda said: said.officer)
        if len(given) == len(of_plan) <= _MOST_OFFICERS:  # one rejection outweighs any approvals
            sets = chain.from_iterable(combinations(given, size) for size in range(1, len(given) + 1))
            yield from ((one.plan_digest, each) for each in sets)
