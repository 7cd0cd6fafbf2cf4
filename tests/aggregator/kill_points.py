"""Kills a job with SIGKILL at many instants and resumes it; prints what each resumed job came to. Run by test_kill_and_resume.

An instant is the start of a function call inside fedward: the job is profiled, and the n-th call kills the process. torch is
imported once; each job runs in a fork of that process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
# Where state changes hands or reaches the disk; parsing a plan changes nothing, so it only dilutes the instants.
SILO = (
    "node",
    "answers",
    "private_answers",
    "audit_answers",
    "state",
    "outbox",
    "gate",
    "chain",
    "witness",
    "account",
    "receipts",
    "training/local",
    "training/private",
    "secure",
    "secure_answers",
    "secure_scores",
    "upload",
)
PLACES = ("aggregator", "privacy/ledger", "protocol/vectors", "protocol/messages", "protocol/transport", "protocol/identity")
OURS = tuple(str(ROOT / place) for place in (*PLACES, *(f"silo_node/{part}" for part in SILO)))


class KillAt:
    """Counts calls of fedward's own functions on all threads; kills the process at call `at` (0: only counts)."""

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            self.calls += 1
            if self.calls == self.at:
                os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path, stores: Path, plan: Any, killer: KillAt | None) -> dict[str, Any]:
    """One process's worth of the job in `folder`."""
    from aggregator.job import Job
    from protocol.secure_aggregation import Member
    from protocol.transport.in_process import InProcessTransport
    from protocol.vectors import vector_digest
    from silo_node.cohort import CohortStore
    from tests.conftest import tiny_node

    torch.set_num_threads(1)
    if killer is not None:
        threading.setprofile(killer)
        sys.setprofile(killer)
    nodes = {
        p.name: tiny_node(p.name, CohortStore.open(p), folder / "silos" / p.name)
        for p in sorted(stores.iterdir())
        if p.is_dir()
    }
    members = [Member(name, node.public_key) for name, node in nodes.items()]
    for node in nodes.values():
        node.pin(members)
    job = Job(plan, InProcessTransport(nodes), folder / "job", lambda _: None, {}, members)
    with closing(job.journal):
        job.run()
        sys.setprofile(None)
        threading.setprofile(None)
        if plan.privacy.mechanism != "none":
            return private_end(job, folder) | {"evidence": _evidence(job), "calls": killer.calls if killer else 0}
        scores = [[*_scoring(s), {k: v.loss for k, v in s.scores.items()}, s.failures] for s in job.scores()]
        rounds = [[r.round, r.aggregated, r.losses, r.model_digest] for r in job.journal.rounds()]
        return {
            "model": vector_digest(job.models.final()),
            "scores": scores,
            "audit": _audit(job.audit()),
            "rounds": rounds,
            "attempts": [[number, attempt] for number, attempt, _ in job.journal.attempts()],
            "evidence": _evidence(job),
            "calls": killer.calls if killer else 0,
        }


def _scoring(record: Any) -> list[Any]:
    """Which scoring it is, and its sum if that is all that is known."""
    total = record.summed and [record.summed.n, record.summed.n_right, [one.positive for one in record.summed.classes]]
    return [record.round, record.kind, record.split, total, record.survivors, record.unsummed]


def _evidence(job: Any) -> list[Any]:
    """Who cosigned, who did not, and what has no receipt."""
    record = job.evidence()
    return [sorted(record.cosignatures), record.failures, record.gaps]


def _audit(record: Any) -> list[Any]:
    return [record.edges, record.counts, record.sites, record.failures, record.unsummed]


def private_end(job: Any, folder: Path) -> dict[str, Any]:
    """What each ledger was charged for, and whether it holds every charge that the aggregator has a receipt of."""
    from privacy.ledger import Ledger

    receipts = [receipt for record in job.journal.rounds() for receipt in record.receipts.items()]
    receipts += [(silo, one.receipt) for scores in job.scores() for silo, one in scores.scores.items()]
    receipts += [receipt for scores in job.scores() for receipt in scores.receipts.items()]
    receipts += job.audit().receipts.items()
    charged, known = {}, set()
    for path in sorted((folder / "silos").iterdir()):
        entries = Ledger.open(path / "ledger.jsonl").entries
        charged[path.name] = sorted(entry.release for entry in entries)
        known |= {(path.name, entry.seq, entry.digest) for entry in entries}
    return {
        "charged": charged,
        "covered": all((silo, receipt.entries, receipt.head) in known for silo, receipt in receipts),
        "receipts": len(receipts),
        "sums": [list(scores.survivors) for scores in job.scores()] + [list(job.audit().sites)],
        "attempts": [[number, attempt] for number, attempt, _ in job.journal.attempts()],
    }


def forked(folder: Path, stores: Path, plan: Any, killer: KillAt | None) -> dict[str, Any] | None:
    """`run` in a fork; None if it was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 1
        try:
            with os.fdopen(writer, "w") as out:
                json.dump(run(folder, stores, plan, killer), out)
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as result:
        text = result.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return None
    if os.WEXITSTATUS(status):
        raise SystemExit(f"the job in {folder.name} failed without being killed")
    answer: dict[str, Any] = json.loads(text)
    return answer


def main(out: Path, points: int, private: bool, secure: bool, top_k: bool, summed: bool) -> None:
    """Make stores, run undisturbed, then kill and resume at `points` instants spread over the whole job."""
    sys.path.insert(0, str(ROOT))
    import dp_accounting.pld
    import dp_accounting.rdp  # noqa: F401
    import monai.networks.nets  # noqa: F401 - once, before the forks
    import torch._dynamo  # noqa: F401 - the first optimiser would load it: more than a second in every fork

    import aggregator.job  # noqa: F401
    import silo_node.node  # noqa: F401
    from tests.conftest import PRIVATE, tiny_plan, tiny_store

    stores = out / "stores"
    for seed, name in enumerate("abc"):
        tiny_store(stores / name, n=24, seed=seed)
    changes = {"federation.rounds": 3, "federation.average_last": 2, "federation.personal": ["head"]}
    changes |= {"federation.strategy": {"name": "FedAdam", "lr": 0.05}, "evaluation.personalise": "fine_tune"}
    if private:
        changes = PRIVATE | {"training.local_steps": 2, "privacy": PRIVATE["privacy"] | {"secure_aggregation": secure}}
    if top_k:
        changes |= {"federation.compression": {"name": "top_k", "fraction": 0.2}}
    if summed:
        evaluation = changes.pop("evaluation", {}) | {"alone": False, "scores": "summed"}
        privacy = changes.pop("privacy", {"mechanism": "none"}) | {"secure_aggregation": True}
        changes = {"evaluation": evaluation, "privacy": privacy} | changes  # a part before its keys
    plan = tiny_plan(**changes, **{"evaluation.audit": {"bins": 16, "attributes": ["sex"]}})
    undisturbed = forked(out / "undisturbed", stores, plan, KillAt(0))
    assert undisturbed is not None
    total = undisturbed.pop("calls")
    ends = []
    for point in range(points):
        at = 1 + (total - 2) * point // max(1, points - 1)
        folder = out / f"killed-{at}"
        killed = forked(folder, stores, plan, KillAt(at)) is None
        # Killed a second time on the way, at another instant, and only then left to finish.
        forked(folder, stores, plan, KillAt(max(1, total // 3)))
        end = forked(folder, stores, plan, None)
        assert end is not None
        end.pop("calls")
        ends.append({"at": at, "killed": killed, "end": end})
    print(json.dumps({"undisturbed": undisturbed, "total_calls": total, "ends": ends}))


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        int(sys.argv[2]),
        private="private" in sys.argv,
        secure="secure" in sys.argv,
        top_k="top_k" in sys.argv,
        summed="summed" in sys.argv,
    )
