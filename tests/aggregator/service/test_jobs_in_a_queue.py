"""Submitted plans run one after the other, say how they stand, and bear a service that ends at any moment."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from aggregator.service.live import read_live
from aggregator.service.office import Aggregator, ServiceSettings
from aggregator.service.queue import Queue, Standing
from protocol.errors import InputError, JournalError
from protocol.plan import Plan
from protocol.secure_aggregation import Member
from protocol.transport.base import Failure, Transport
from protocol.transport.in_process import InProcessTransport
from silo_node.node import SiloNode
from tests.conftest import tiny_node, tiny_plan, tiny_store

NAMES = ("north", "south", "west")


class Consortium:
    """Three silos in this process, and services over them that come and go."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.alive = folder, dict.fromkeys(NAMES, True)
        self.nodes: dict[str, SiloNode] = {
            name: tiny_node(name, tiny_store(folder / "stores" / name, seed=seed), folder / "silos" / name)
            for seed, name in enumerate(NAMES)
        }
        self.members = [Member(name, node.public_key) for name, node in self.nodes.items()]
        for node in self.nodes.values():
            node.pin(self.members)
        self.queue = Queue(folder)

    def presence(self) -> Mapping[str, tuple[str, float | None]]:
        return {name: ("alive" if alive else "lost", 0.0) for name, alive in self.alive.items()}

    def service(self, transport: Transport, settings: ServiceSettings | None = None) -> Aggregator:
        return Aggregator(self.folder, transport, self.members, self.presence, settings)

    def serve(self, settings: ServiceSettings | None = None, wrap: Callable[[Transport], Transport] = lambda it: it) -> None:
        with closing(InProcessTransport(self.nodes)) as transport:
            self.service(wrap(transport), settings).run(until_idle=True)


@pytest.fixture
def consortium(tmp_path: Path) -> Consortium:
    return Consortium(tmp_path)


def plan(**changes: object) -> Plan:
    return tiny_plan(**{"evaluation": {"alone": False}, "federation.quorum": 3, "privacy": {"mechanism": "none"}, **changes})


class Hooked:
    """A transport that calls `before` ahead of every exchange."""

    def __init__(self, inner: Transport, before: Callable[[int], None], lost: Callable[[], set[str]] = set) -> None:
        self._inner, self._before, self._lost, self._count = inner, before, lost, 0

    @property
    def silos(self) -> tuple[str, ...]:
        return self._inner.silos

    def exchange(self, requests: Mapping[str, bytes], deadline_s: float) -> Iterator[tuple[str, bytes | Failure]]:
        self._before(self._count)
        self._count += 1
        lost = self._lost()
        for silo in requests.keys() & lost:
            yield silo, Failure("unreachable", "not heard for 25 s")
        yield from self._inner.exchange({k: v for k, v in requests.items() if k not in lost}, deadline_s)


def test_jobs_run_in_the_order_of_their_submission_and_leave_their_results(consortium: Consortium) -> None:
    first, second = consortium.queue.submit(plan()), consortium.queue.submit(plan(seed=4))
    consortium.serve()
    standings = [ticket.standing() for ticket in (first, second)]
    assert [standing.state for standing in standings] == ["done", "done"]
    assert (standings[0].ended_at or 0) <= (standings[1].started_at or 0)
    for ticket in (first, second):
        assert {"report.html", "report.json", "model.safetensors", "plan.yaml"} <= {
            path.name for path in ticket.folder.iterdir()
        }
    live = read_live(first.live)
    assert live is not None
    assert (live.committed, live.rounds) == (3, 3)
    assert live.auroc is not None


def test_a_plan_that_no_hospital_can_run_fails_with_its_reason_and_the_next_one_runs(consortium: Consortium) -> None:
    wrong = consortium.queue.submit(plan(**{"task.target": "age"}))
    right = consortium.queue.submit(plan())
    consortium.serve(ServiceSettings(tries=1))
    assert wrong.standing().state == "failed"
    assert "quorum" in wrong.standing().reason
    assert right.standing().state == "done"


def test_a_service_that_is_ended_goes_on_with_the_same_job_at_the_same_round(consortium: Consortium) -> None:
    ticket = consortium.queue.submit(plan())
    interrupted(consortium)
    assert ticket.standing().state == "running"
    before = read_live(ticket.live)
    assert before is not None
    assert before.committed < 3
    consortium.serve()
    assert ticket.standing().state == "done"
    whole = Consortium(consortium.folder / "undisturbed")
    other = whole.queue.submit(plan())
    whole.serve()
    # Another job, other masks, the same model to the bit: sums are exact.
    digests = {json.loads((one.folder / "report.json").read_bytes())["model"]["digest"] for one in (ticket, other)}
    assert len(digests) == 1


def test_a_running_job_ends_when_it_is_cancelled_and_a_waiting_one_never_begins(consortium: Consortium) -> None:
    running, waiting = consortium.queue.submit(plan()), consortium.queue.submit(plan())
    consortium.queue.cancel("2")
    cancel = lambda count: consortium.queue.cancel(running.name) if count == 5 else None  # noqa: E731
    consortium.serve(wrap=lambda inner: Hooked(inner, cancel))
    assert [ticket.standing().state for ticket in (running, waiting)] == ["cancelled", "cancelled"]
    assert not (waiting.folder / "job").exists()
    with pytest.raises(InputError, match="already"):
        consortium.queue.cancel(running.name)


def test_a_job_that_loses_its_quorum_waits_for_the_silo_and_goes_on(consortium: Consortium) -> None:
    ticket = consortium.queue.submit(plan())

    def leave(count: int) -> None:
        if count == 3:
            consortium.alive["west"] = False
            threading.Timer(1.5, lambda: consortium.alive.update(west=True)).start()

    def lost() -> set[str]:
        return {name for name, alive in consortium.alive.items() if not alive}

    consortium.serve(ServiceSettings(tries=3, grace_s=30.0), wrap=lambda inner: Hooked(inner, leave, lost))
    standing = ticket.standing()
    assert (standing.state, standing.attempts) == ("done", 1)


def test_a_silo_that_does_not_come_back_ends_the_job_with_its_name(consortium: Consortium) -> None:
    ticket = consortium.queue.submit(plan())
    consortium.alive["west"] = False
    start = time.monotonic()
    consortium.serve(ServiceSettings(tries=5, grace_s=1.0), wrap=lambda inner: Hooked(inner, lambda _: None, lambda: {"west"}))
    assert ticket.standing().state == "failed"
    assert "west" in ticket.standing().reason
    assert time.monotonic() - start < 60.0


def test_a_job_whose_state_was_damaged_says_so(consortium: Consortium) -> None:
    ticket = consortium.queue.submit(plan())
    (ticket.folder / "state.json").write_text("{")
    with pytest.raises(JournalError, match=r"state\.json"):
        ticket.standing()


def test_names_of_jobs_are_found_by_number_and_unknown_ones_are_told_what_there_is(consortium: Consortium) -> None:
    ticket = consortium.queue.submit(plan())
    assert consortium.queue.find("1").name == consortium.queue.find("0001").name == consortium.queue.find(ticket.name).name
    with pytest.raises(InputError, match=ticket.name):
        consortium.queue.find("7")


def test_two_that_submit_at_once_get_different_numbers(consortium: Consortium) -> None:
    wanted, found = plan(), []
    threads = [threading.Thread(target=lambda: found.append(consortium.queue.submit(wanted).name)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8
    assert all(ticket.standing() == Standing("queued", ticket.standing().submitted_at) for ticket in consortium.queue.tickets())


def test_a_job_that_is_resumed_goes_on_among_its_own_hospitals_when_another_has_come(consortium: Consortium) -> None:
    ticket = consortium.queue.submit(plan())
    interrupted(consortium)
    node = tiny_node("east", tiny_store(consortium.folder / "stores" / "east", seed=9), consortium.folder / "silos" / "east")
    grown = {"east": node, **consortium.nodes}
    members = [Member("east", node.public_key), *consortium.members]
    with closing(InProcessTransport(grown)) as transport:
        Aggregator(consortium.folder, transport, members, consortium.presence).run(until_idle=True)
    standing = ticket.standing()
    assert standing.state == "done", standing.reason
    report = json.loads((ticket.folder / "report.json").read_bytes())
    assert [one["aggregated"] for one in report["rounds"]] == [list(NAMES)] * 3


def test_a_job_that_is_resumed_without_one_of_its_hospitals_says_who_left_and_what_to_do(consortium: Consortium) -> None:
    ticket = consortium.queue.submit(plan())
    interrupted(consortium)
    left = {name: node for name, node in consortium.nodes.items() if name != "west"}
    with closing(InProcessTransport(left)) as transport:
        Aggregator(consortium.folder, transport, consortium.members[:2], consortium.presence).run(until_idle=True)
    standing = ticket.standing()
    assert standing.state == "failed"
    assert "since then west left" in standing.reason
    assert "submit the plan again" in standing.reason


def interrupted(consortium: Consortium) -> None:
    """A service that ends in the middle of a job's rounds."""
    with closing(InProcessTransport(consortium.nodes)) as transport:
        holder: list[Aggregator] = []
        holder.append(consortium.service(Hooked(transport, lambda count: holder[0].stop() if count == 8 else None)))
        holder[0].run(until_idle=True)


def test_a_new_roster_is_taken_between_two_jobs_never_within_one(consortium: Consortium) -> None:
    first, second = consortium.queue.submit(plan()), consortium.queue.submit(plan(seed=4))
    outdated = {"now": False}
    with closing(InProcessTransport(consortium.nodes)) as transport:
        late = Hooked(transport, lambda count: outdated.update(now=count >= 4))
        service = Aggregator(consortium.folder, late, consortium.members, consortium.presence, None, lambda: outdated["now"])
        assert service.run(until_idle=True)
    assert [ticket.standing().state for ticket in (first, second)] == ["done", "queued"]
