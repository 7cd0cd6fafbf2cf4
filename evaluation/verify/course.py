"""Models, rounds and charges: whether all receipts tell one course of the job, that of the checkpoint and of rounds.json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evaluation.verify.findings import Findings
from evaluation.verify.opened import Opened
from protocol.errors import EvidenceError
from protocol.evidence import bundle as names
from protocol.evidence.agreement import check_course, check_models, check_part
from protocol.evidence.receipt import UPDATES, ReleaseReceipt
from protocol.plan.privacy import PatientPrivacy

_SCORES = ("scores", "private-scores")
_PAID = ("private-update", "private-scores", "masked-update", "masked-scores", "audit-counts")


def check_agreement(opened: Opened, findings: Findings) -> None:
    """One sequence of models, shown to every silo alike; who is in a round sent an update for it."""
    before, checkpoint = len(findings.found), opened.checkpoint
    with findings.checking("models", names.AGGREGATOR):
        check_course(checkpoint)
        if checkpoint.rounds and len(checkpoint.rounds) != opened.plan.federation.rounds:
            raise EvidenceError(f"{len(checkpoint.rounds)} rounds are here, the plan has {opened.plan.federation.rounds}.")
    for site, receipts in opened.receipts.items():
        with findings.checking("models", site):
            seen = check_models(checkpoint, site, receipts)
            check_part(checkpoint, site, receipts)
            envelope = opened.cosignatures.signed.get(site)
            if envelope is not None and not seen:
                text = "it was never given the final model to score, so it cannot say which one it is."
                findings.add("unchecked", "models", site, text)
    silos = f"{len(opened.receipts)} of {len(checkpoint.roster)} silos"
    text = (
        f"{len(checkpoint.rounds)} rounds: {silos} were given no other models than these, final model {checkpoint.model[7:19]}"
    )
    findings.counted("models", text, before)


def check_told(opened: Opened, findings: Findings) -> None:
    """rounds.json, from which the report was made, against the checkpoint and the receipts."""
    before, course, checkpoint = len(findings.found), opened.course, opened.checkpoint
    with findings.checking("rounds", names.AGGREGATOR):
        if course.job != checkpoint.job or course.configured != tuple(site.name for site in checkpoint.roster):
            raise EvidenceError("rounds.json is of another job, or of other silos, than the checkpoint.")
        told = [(r.round, r.attempt, sorted(r.trained), sorted(r.aggregated), r.rejected is not None) for r in course.rounds]
        signed = [(r.round, r.attempt, sorted(r.trained), sorted(r.aggregated), r.rejected) for r in checkpoint.rounds]
        if told != signed:
            raise EvidenceError("rounds.json tells of other rounds than the checkpoint.")
    for site, commitment in _used(opened):
        with findings.checking("rounds", site):
            if site in opened.receipts:
                opened.receipt(site, commitment)
            else:
                findings.add(
                    "missing", "rounds", site, "figures of the report are said to be its own, but its receipts are not here."
                )
    for site, receipts in opened.receipts.items():
        _left_out(opened, findings, site, receipts)
    findings.counted("rounds", "what the aggregator says of rounds and scorings is what the silos signed", before)


def check_charges(opened: Opened, findings: Findings) -> None:
    """Under a private plan: every release was charged, as the plan says, in a ledger that only grows."""
    plan = opened.plan
    if not isinstance(plan.privacy, PatientPrivacy):
        return
    from privacy.guarantee import guarantee_of

    before, guarantee = len(findings.found), guarantee_of(plan)
    rounds = guarantee.steps // guarantee.steps_per_round
    for site, receipts in opened.receipts.items():
        with findings.checking("charges", site):
            _check_ledger(site, receipts)
            paid = {one.charged.release: one.charged for one in receipts if one.charged is not None}
            trained = [one for one in paid.values() if one.part == "train"]
            if len(trained) > rounds:
                raise EvidenceError(f"{site} was charged for {len(trained)} updates, the plan pays for {rounds}.")
            wanted = _expected(opened)
            for one in paid.values():
                if one.event not in wanted[one.part]:
                    raise EvidenceError(f"{site} was charged something else for {one.release} than the plan says.")
    text = f"every release was charged as the plan says: epsilon {guarantee.epsilon:.4g} at delta {guarantee.delta:g}"
    findings.counted("charges", text, before)


def _check_ledger(site: str, receipts: Iterable[ReleaseReceipt]) -> None:
    entries, head = 0, ""
    for one in receipts:
        if one.kind in _PAID and (one.ledger is None or one.charged is None):
            raise EvidenceError(f"receipt {one.seq} of {site}: a private release without a charge.")
        if one.ledger is None:
            continue
        if one.ledger.entries < entries or (one.ledger.entries == entries and head and one.ledger.head != head):
            raise EvidenceError(f"receipt {one.seq} of {site}: the ledger is older than it was before.")
        entries, head = one.ledger.entries, one.ledger.head


def _expected(opened: Opened) -> dict[str, list[object]]:
    """The events that releases of each part may be charged as."""
    from privacy.event_json import encode
    from privacy.events import metric_event, training_event
    from privacy.guarantee import guarantee_of

    plan = opened.plan
    if not isinstance(plan.privacy, PatientPrivacy):
        return {}
    found, silos = guarantee_of(plan), plan.privacy.max_silos_per_patient
    step = training_event(found.noise_multiplier, found.sampling_rate, found.steps_per_round, silos)
    scores: list[object] = [encode(metric_event(plan.privacy.metrics_epsilon, 1, silos))]
    audit: list[object] = []
    if plan.evaluation.audit is not None:
        audit = [encode(metric_event(plan.evaluation.audit.epsilon, 1, silos))]
    return {"train": [encode(step)], "validation": scores, "test": scores + audit}


def _used(opened: Opened) -> list[tuple[str, str]]:
    course = opened.course
    found = list(course.described.items())
    for scoring in course.scorings:
        found += list(scoring.used.items())
    return found + (list(course.audit.used.items()) if course.audit is not None else [])


def _left_out(opened: Opened, findings: Findings, site: str, receipts: Sequence[ReleaseReceipt]) -> None:
    """What left a silo and is in no round or figure: whether it arrived only the aggregator knows, and must give a reason."""
    for one in receipts:
        if one.kind in UPDATES:
            told = [each for each in opened.course.rounds if (each.round, each.attempt) == (one.round, one.attempt)]
            reasons = [each.failures.get(site, "") for each in told if site not in each.trained]
        elif one.kind in _SCORES:
            here = [scoring for scoring in opened.course.scorings if scoring.round == one.round]
            used = {scoring.used.get(site) for scoring in here}
            if one.metrics in {other.metrics for other in receipts if other.commitment in used}:  # a silo asked again
                continue
            reasons = [next((scoring.failures[site] for scoring in here if site in scoring.failures), "")]
        else:
            continue
        for reason in reasons:
            what = f"{one.kind} that it released in round {one.round} is in no figure"
            if reason:
                findings.add("unchecked", "rounds", site, f"{what}; the aggregator says: {reason}")
            else:
                findings.add("broken", "rounds", site, f"{what}, and nothing says why.")
