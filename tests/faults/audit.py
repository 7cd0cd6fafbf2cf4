"""What must hold after any fault, read from the outside: the silos' ledgers and logs, the aggregator's journal, the report."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from dataclasses import dataclass

from aggregator.history import History
from aggregator.journal import Journal
from aggregator.service.queue import Ticket
from privacy.ledger import Ledger
from privacy.ledger.entry import Entry
from privacy.ledger.spent import spent_epsilon
from tests.faults.cluster import Cluster


@dataclass(frozen=True)
class Audit:
    """Of one job that is done: attempts by round, its model, and who was missing in which round."""

    job: str
    attempts: Counter[int]
    model: str
    missing: dict[int, dict[str, str]]


def audit(cluster: Cluster, ticket: Ticket) -> Audit:
    """Fails unless every round was committed once and every release was charged, once, before it left."""
    plan = ticket.plan()
    with closing(Journal(ticket.folder / "job")) as journal:
        history = History(journal)
        job = (journal.bytes("job") or b"").decode()
        rounds, scores, attempts = history.rounds(), history.scores(), journal.attempts()
    assert [one.round for one in rounds] == list(range(1, plan.federation.rounds + 1))
    assert Counter(number for number, _, outcome in attempts if outcome == "committed") == Counter(range(1, len(rounds) + 1))
    report = json.loads((ticket.folder / "report.json").read_bytes())
    tried = {(number, attempt) for number, attempt, _ in attempts}
    for name in cluster.names:
        assert trained(cluster, name, job) <= tried
        if plan.privacy.mechanism != "none":
            own = covered(cluster, name, job, plan.privacy.mechanism)
            receipts = [record.receipts[name] for record in (*rounds, *scores) if name in record.receipts]
            receipts += [record.scores[name].receipt for record in scores if name in record.scores]  # type: ignore[union-attr]
            known = {(entry.seq, entry.digest) for entry in entries(cluster, name)}
            assert all((one.entries, one.head) in known for one in receipts), f"{name}: a receipt its ledger does not know"
            assert len(receipts) >= sum(name in one.aggregated for one in rounds)
            promised = float(report["privacy"]["epsilon"])
            assert not own or paid(cluster, name, job) <= promised + 1e-9
    missing = {one.round: dict(one.failures) for one in rounds if one.failures}
    return Audit(job, Counter(number for number, _, _ in attempts), report["model"]["digest"], missing)


def trained(cluster: Cluster, name: str, job: str) -> set[tuple[int, int]]:
    """The (round, attempt) for which this silo sent a masked vector: at most one each.

    Two under the same masks would be told by their difference.
    """
    answered = [
        (line["round"], line["attempt"])
        for line in cluster.requests(name, job)
        if line["kind"] == "TrainMasked" and line["outcome"] == "answered"
    ]
    assert len(answered) == len(set(answered)), (name, answered)
    return set(answered)


def covered(cluster: Cluster, name: str, job: str, mechanism: str) -> list[str]:
    """What this silo's ledger was charged for in `job`: each release once, and everything that left.

    A silo logs an answer before it hands it to the network, so what left is in the log. A charge whose release never left
    stays: that is the safe side.
    """
    own = [entry.release for entry in entries(cluster, name) if entry.job == job]
    assert len(own) == len(set(own)), f"{name} charged a release twice: {own}"
    # Asked again under `local` the same update leaves again; under `distributed` each attempt is another one.
    left = {f"round/{n}/{k}" if mechanism == "distributed" else f"round/{n}" for n, k in trained(cluster, name, job)}
    for line in cluster.requests(name, job):
        if line["kind"] == "Score" and line["outcome"] == "answered":
            assert any(one.startswith(f"scores/{line['round']}/") for one in own), (name, line, own)
    assert left <= set(own), f"{name}: {left - set(own)} left and was not charged"
    return own


def entries(cluster: Cluster, name: str) -> tuple[Entry, ...]:
    """Every charge of a silo, each line verified; none if it never had to charge for anything."""
    return Ledger.open(cluster.ledgers[name]).entries if cluster.ledgers[name].exists() else ()


def paid(cluster: Cluster, name: str, job: str) -> float:
    """Epsilon that the patients of a silo paid for one job, by its ledger, at that job's delta."""
    delta = next(entry.delta for entry in entries(cluster, name) if entry.job == job)
    studies = spent_epsilon(Ledger.open(cluster.ledgers[name]), delta).studies
    return next(one.epsilon for one in studies if one.job == job)
