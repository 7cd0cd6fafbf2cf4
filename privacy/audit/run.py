"""The whole audit of one plan: sensitivity, noise, sampling, and canaries through all of its steps."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable

from privacy.audit.canaries import CanaryScores, run_canaries
from privacy.audit.finding import Finding
from privacy.audit.noise_tests import noise_findings
from privacy.audit.one_run import CONFIDENCE, MIN_CANARIES, LowerBound, ceiling, lower_bound
from privacy.audit.opened import OpenedSums
from privacy.audit.opening import opening_findings
from privacy.audit.report import AuditReport
from privacy.audit.sampler_tests import sampler_findings
from privacy.audit.sensitivity import sensitivity_findings
from privacy.audit.subject import Subject
from protocol.errors import InputError

ALARMS = 3
"""Runs in a row whose lower bound must exceed the claim. One does so by chance at most once in 20 correct audits, three once in
8000; a violation that one run can see at all is seen by the next two as well."""

Tick = Callable[[str, int, int], None]
"""What is being done, how far, of how much."""


def audit(subject: Subject, canaries: int = 1000, repeat: int = 1, tick: Tick | None = None) -> AuditReport:
    """Every test of `subject`; `repeat` runs of `canaries` canaries each are pooled. Raises InputError for too few."""
    tick = tick or (lambda _what, _done, _total: None)
    if canaries < MIN_CANARIES or repeat < 1:
        raise InputError(f"an audit needs at least {MIN_CANARIES} canaries and one repetition, not {canaries} and {repeat}.")
    findings: list[Finding] = []
    tests = (("sensitivity", sensitivity_findings), ("noise", noise_findings), ("sampling", sampler_findings))
    for number, (what, test) in enumerate(tests):
        tick(what, number, len(tests))
        findings += test(subject.stream)
    if isinstance(subject.stream, OpenedSums):
        findings += opening_findings(subject.stream.manifest)
    bounds: list[LowerBound] = []
    scores = []
    while len(bounds) < ALARMS and all(bound.epsilon > subject.epsilon for bound in bounds):
        scores.append(_run(subject, canaries, repeat, len(bounds), tick))
        bounds.append(lower_bound(scores[-1].included, scores[-1].scores, subject.delta))
    least = min(range(len(bounds)), key=lambda number: bounds[number].epsilon)
    most = ceiling(canaries * repeat, subject.delta)
    findings.append(_canary_finding(subject, bounds, bounds[least]))
    return AuditReport(subject, tuple(findings), bounds[least], most, len(bounds), scores[least])


def _run(subject: Subject, canaries: int, repeat: int, before: int, tick: Tick) -> CanaryScores:
    total, done = subject.steps * repeat, 0
    what = f"canaries, run {before + 1} of {ALARMS} to confirm" if before else "canaries"

    def one_more() -> None:
        nonlocal done
        done += 1
        tick(what, done, total)

    return functools.reduce(operator.add, [run_canaries(subject, canaries, one_more) for _ in range(repeat)])


def _canary_finding(subject: Subject, bounds: list[LowerBound], best: LowerBound) -> Finding:
    violated = best.epsilon > subject.epsilon
    shown = f"at least {best.epsilon:.2f} ({best.right} of {best.guesses} right)"
    if violated:
        shown = "at least " + ", ".join(f"{bound.epsilon:.2f}" for bound in bounds)
    return Finding(
        "canaries",
        f"at most epsilon {subject.epsilon:.3g}",
        shown,
        not violated,
        "patients are told apart better than epsilon allows: too little noise, or a patient counts for more than clip_norm",
        alpha=(1.0 - CONFIDENCE) ** ALARMS,
    )
