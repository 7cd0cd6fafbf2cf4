"""Governance from end to end, each party in processes of its own, over a real broker and nothing but loopback: a cohort is
published, a plan tried on mocks, handed over, approved at three hospitals and rejected at one; the federation runs with the
three, a withdrawal stops the next round at one of them, and the report comes back to the researcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("syft_rds")

from aggregator.service.queue import Queue
from fedward.cluster.layout import Hospital
from fedward.cluster.processes import Processes
from fedward.cluster.up import ClusterSettings, start
from protocol.consortium.rosters import key_fingerprint
from tests.conftest import MakeStore, tiny_plan

NAMES = ("east", "north", "south", "west")


class Story:
    """The parties, each spoken to through the command line."""

    def __init__(self, folder: Path, stores: dict[str, Path], processes: Processes) -> None:
        self.folder, self.processes = folder, processes
        self.env = dict(os.environ, OMP_NUM_THREADS="1", XDG_DATA_HOME=str(folder / "data"), COLUMNS="200")
        self.policies = {name: folder / f"{name}.policy.yaml" for name in stores}
        hospitals = {name: Hospital(stores[name], self.policies[name], folder / f"{name}.ledger.jsonl") for name in stores}
        for name, policy in self.policies.items():
            key = self.tell("silo", "officer", f"{name}-officer")["public_key"]
            rules = {
                "approval": "officers",
                "officers": {f"{name}-officer": key},
                "allow_without_privacy": True,
                "min_patients": 1,
            }
            policy.write_text(yaml.safe_dump(rules))
        self.layout = start(hospitals, ClusterSettings(folder / "cluster"), processes, lambda _: None)
        self.share = self.layout.office.folder / "share"
        roster = self.layout.office.roster()
        words = ["--roster", str(self.layout.office.folder / "roster.json"), "--share", str(self.share)]
        digits = key_fingerprint(roster.coordinator)
        self.alice = self.tell("desk", "alice", *words, "--fingerprint", digits)["public_key"]
        for policy in self.policies.values():
            rules = yaml.safe_load(policy.read_text()) | {"researchers": {"alice": self.alice}}
            policy.write_text(yaml.safe_dump(rules))
        self.share.mkdir(exist_ok=True)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fedward", *words]
        return subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=300)

    def tell(self, *words: str) -> dict[str, Any]:
        done = self.run(*words, "--json")
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found

    def at(self, name: str) -> tuple[str, str]:
        return "--config", str(self.layout.configs[name])

    def decide(self, name: str, verdict: str, plan: str) -> str:
        words = ["--as", f"{name}-officer", "--reason", f"{name} says {verdict}"]
        return str(self.tell("silo", verdict, plan, *words, *self.at(name))["status"])

    def handed_over(self, plan: Path) -> bool:
        """Hospitals let a researcher in who has asked, when their officers look."""
        self.tell("cohorts")
        for name in NAMES:
            self.tell("silo", "requests", *self.at(name))
        done = self.run("submit", str(plan), "--note", "please", "--json")
        lines = done.stdout.strip().splitlines()
        return bool(lines) and set(json.loads(lines[-1])["handed_over"]) == set(NAMES)

    def shown(self) -> bool:
        self.tell("silo", "requests", *self.at("north"))
        return bool(self.tell("cohorts")["cohorts"])

    def returned(self, name: str) -> bool:
        self.tell("silo", "requests", *self.at(name))
        found = {one["hospital"]: one for one in self.tell("submit")["answers"]}
        return bool(found.get(name, {}).get("results"))

    def until(self, what: Callable[[], bool], seconds: float = 180.0) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, "it did not come"
            self.processes.check()
            time.sleep(1.0)


@pytest.mark.slow(140)
def test_a_plan_runs_where_officers_approved_it_and_nowhere_else(make_store: MakeStore, tmp_path: Path) -> None:
    stores = {name: make_store(name, seed=number).path for number, name in enumerate(NAMES)}
    plan = tiny_plan(**{"federation.rounds": 400, "evaluation.alone": False, "evaluation.every": 400, "federation.quorum": 2})
    path = tmp_path / "plan.yaml"
    path.write_bytes(plan.canonical)
    with Processes(tmp_path / "logs") as processes:
        story = Story(tmp_path, stores, processes)

        # Browse, and try it on the mocks.
        story.tell("silo", "publish", "opacities", "--summary", "phantoms", *story.at("north"))
        story.until(story.shown)  # to a researcher whose key the hospital knows, at its next look
        (cohort,) = story.tell("cohorts")["cohorts"]
        assert (cohort["hospital"], cohort["summary"]) == ("north", "phantoms")

        # Hand it over; before anyone approves it, no hospital takes part.
        for name in NAMES:
            story.tell("silo", "requests", *story.at(name))
        story.until(lambda: story.handed_over(path))
        story.until(lambda: all(story.tell("silo", "requests", *story.at(name))["requests"] for name in NAMES))
        early = Queue(story.layout.office.folder).submit(plan)
        story.until(lambda: early.standing().state == "failed")
        assert "not approved" in early.standing().reason

        # Approved at three, rejected at one.
        digest = plan.digest.removeprefix("sha256:")[:12]
        assert [story.decide(name, "approve", digest) for name in ("east", "north", "south")] == ["approved"] * 3
        assert story.decide("west", "reject", digest) == "rejected"
        ticket = Queue(story.layout.office.folder).submit(plan)
        live = ticket.folder / "live.json"
        story.until(lambda: live.exists() and json.loads(live.read_bytes())["committed"] >= 3)

        # A withdrawal stops the next round at that hospital; the others go on.
        assert story.decide("south", "withdraw", digest) == "withdrawn"
        story.until(lambda: ticket.standing().state in ("done", "failed"))
        assert ticket.standing().state == "done", ticket.standing().reason
        report = json.loads((ticket.folder / "report.json").read_bytes())
        rounds = report["rounds"]
        took_part = {name: [one["round"] for one in rounds if name in one["aggregated"]] for name in NAMES}
        assert took_part["east"] == took_part["north"] == list(range(1, 401))
        assert took_part["west"] == []
        stopped = max(took_part["south"])
        assert 3 <= stopped < 400
        assert took_part["south"] == list(range(1, stopped + 1))
        assert "withdrew" in rounds[stopped + 1]["failures"]["south"]
        assert "rejected" in rounds[0]["failures"]["west"]

        # The report comes back to the researcher through the job, from hospitals that took part; it never lies on the share.
        story.until(lambda: story.returned("north"))
        reports = sorted(path.parents[2].name for path in story.folder.rglob("p2p/*/reports/*/report.json"))
        assert {name.partition("@")[0] for name in reports} == {"east", "north", "south"}
        assert not [path for path in story.share.rglob("*") if path.name.startswith("report.")]
        answers = {one["hospital"]: one for one in story.tell("submit")["answers"]}
        assert (answers["west"]["status"], answers["west"]["results"]) == ("rejected", [])
        assert "west says reject" in answers["west"]["reason"]
        (found,) = [Path(one) for one in answers["north"]["results"] if one.endswith("report.json")]
        assert json.loads(found.read_bytes())["job"] == report["job"]
