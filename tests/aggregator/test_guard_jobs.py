"""The guard in whole jobs: what is rejected, what the model goes back to, and that a kill changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.events import Event, RoundCommitted
from aggregator.job import Job
from aggregator.journal import Journal
from protocol.errors import FederationError, UpdateError
from protocol.messages import Train, decode_request
from protocol.plan import Plan
from protocol.transport.base import Handler
from protocol.transport.in_process import InProcessTransport
from protocol.vectors import from_wire, vector_digest
from tests.aggregator.poisoned_silos import Attack, defended_plan, finish, make_store, poisoned
from tests.conftest import PRIVATE, tiny_node

SILOS = ("a", "b", "c")
Make = Callable[..., dict[str, Handler]]


def noise(delta: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """So much noise that the mean of three silos knows nothing any more."""
    return np.random.default_rng(5).standard_normal(delta.size).astype(np.float32) * 5.0


def some_noise(delta: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Enough to ruin the model, too little for the silos to fail when they train from it."""
    return noise(delta) / 5.0


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    folder = tmp_path_factory.mktemp("stores")
    return {silo: make_store(folder / silo, seed, n=140) for seed, silo in enumerate(SILOS)}


@pytest.fixture
def make(stores: Mapping[str, Any]) -> Make:
    """Handlers of three silos; the last one poisons `rounds`. Each asked-for model is written into `asked` by round."""

    def handlers(
        folder: Path, rounds: Collection[int], attack: Attack = noise, asked: dict[int, str] | None = None
    ) -> dict[str, Handler]:
        found: dict[str, Handler] = {silo: tiny_node(silo, stores[silo], folder / "silos" / silo) for silo in SILOS}
        found["c"] = poisoned(found["c"], attack, rounds)
        honest = found["a"]

        def watched(data: bytes) -> bytes:
            request = decode_request(data)
            if isinstance(request, Train) and asked is not None:
                asked[request.address.round] = vector_digest(from_wire(request.model))
            return honest(data)

        return found | {"a": watched}

    return handlers


def guarded(guard: dict[str, Any], **changes: Any) -> Plan:
    usual = {"federation.rounds": 6, "federation.quorum": 3, "evaluation.every": 6, "federation.guard": guard}
    return defended_plan(**(usual | changes))


def test_a_round_that_is_too_long_is_recorded_and_model_and_state_go_back(make: Make, tmp_path: Path) -> None:
    plan = guarded({"max_norm_ratio": 5.0}, **{"federation.strategy": {"name": "FedAdam", "lr": 0.02}})
    events: list[Event] = []
    asked: dict[int, str] = {}
    states = {}
    handlers = make(tmp_path, {5}, asked=asked)
    job = Job(plan, InProcessTransport(handlers), tmp_path / "job", events.append)
    commit = job.journal.commit

    def kept(record: Any, model: Any, state: Any, keep: int) -> None:
        states[record.round] = {name: value.tobytes() for name, value in state.items()}
        commit(record, model, state, keep)

    job.journal.commit = kept  # type: ignore[method-assign]
    with closing(job.journal):
        job.run()
        records = job.rounds()
    assert [record.round for record in records if record.rejected] == [5]
    assert records[4].aggregated == ()
    assert records[4].trained == SILOS
    assert "times" in str(records[4].rejected)
    assert records[4].model_digest == records[3].model_digest == asked[6] == asked[5]
    assert states[5] == states[4] != states[6]
    assert [event.record.rejected for event in events if isinstance(event, RoundCommitted)][4] == records[4].rejected
    assert records[5].aggregated == SILOS


def test_a_validation_that_fell_takes_back_every_round_since_the_last_good_one(make: Make, tmp_path: Path) -> None:
    plan = guarded({"max_validation_drop": 0.15}, **{"federation.rounds": 8, "evaluation.every": 2, "federation.ema": 0.1})
    asked: dict[int, str] = {}
    events: list[Event] = []
    end = finish(plan, make(tmp_path, {5}, some_noise, asked), tmp_path / "job", events.append)
    assert end.stopped is None
    assert end.rejected == [5, 6]
    assert asked[7] == asked[5] == end.rounds[3].model_digest
    assert asked[6] == end.rounds[4].model_digest != asked[5]
    assert all("validation AUROC fell" in str(end.rounds[n - 1].rejected) for n in (5, 6))
    told = [(event.record.round, event.record.rejected is None) for event in events if isinstance(event, RoundCommitted)]
    assert told[:9] == [(1, True), (2, True), (3, True), (4, True), (5, True), (6, True), (5, False), (6, False), (7, True)]
    assert end.auroc > 0.9


def test_poison_in_the_last_rounds_leaves_the_last_good_model_as_the_final_one(make: Make, tmp_path: Path) -> None:
    plan = guarded({"max_validation_drop": 0.15}, **{"evaluation.every": 2, "federation.average_last": 3})
    end = finish(plan, make(tmp_path, {6}), tmp_path / "job")
    assert (end.stopped, end.rejected) == (None, [5, 6])
    with closing(Journal(tmp_path / "job")) as journal:
        good = journal.model(journal.rounds()[3])[0]
    np.testing.assert_allclose(end.model, good, rtol=1e-6)


def test_more_rejections_in_a_row_than_borne_end_the_job_and_every_resume_of_it(make: Make, tmp_path: Path) -> None:
    plan = guarded({"max_norm_ratio": 5.0, "max_rejected": 1}, **{"federation.rounds": 9})
    for _ in range(2):
        end = finish(plan, make(tmp_path, range(5, 99)), tmp_path / "job")
        assert str(end.stopped).startswith("PoisonedError: 2 rejections in a row")
        assert [record.round for record in end.rounds] == [1, 2, 3, 4, 5, 6]
        assert end.rejected == [5, 6]
        assert vector_digest(end.model) == end.rounds[3].model_digest
    patient = guarded({"max_norm_ratio": 5.0, "max_rejected": 2}, **{"federation.rounds": 7})
    assert finish(patient, make(tmp_path / "2", {5, 6}), tmp_path / "2" / "job").stopped is None


def test_a_guard_without_validation_patients_is_refused_instead_of_guarding_nothing(make: Make, tmp_path: Path) -> None:
    plan = guarded({"max_validation_drop": 0.1}, **{"evaluation.every": 1, "data.split.validation_fraction": 0.0})
    job = Job(plan, InProcessTransport(make(tmp_path, set())), tmp_path / "job", lambda _: None)
    with closing(job.journal), pytest.raises(FederationError, match="no silo has validation patients"):
        job.run()


def test_without_a_guard_a_model_that_is_not_finite_is_still_not_kept(make: Make, tmp_path: Path) -> None:
    plan = guarded({}, **{"federation.strategy": {"name": "FedProx", "lr": 100.0}})
    handlers = make(tmp_path, {1}, lambda delta: np.full_like(delta, 3e38))
    job = Job(plan, InProcessTransport(handlers), tmp_path / "job", lambda _: None)
    with closing(job.journal):
        with pytest.raises(UpdateError, match="round 1: the new global model holds values that are not finite"):
            job.run()
        assert job.journal.rounds() == ()
        assert job.journal.attempts()[0][2].startswith("failed")


def test_under_privacy_a_rejected_round_keeps_its_receipts_and_the_job_goes_on(make: Make, tmp_path: Path) -> None:
    changes: dict[str, Any] = PRIVATE | {"privacy": PRIVATE["privacy"] | {"noise_multiplier": 0.5, "batch_patients": 40}}
    plan = guarded({"max_norm_ratio": 5.0}, **(changes | {"training.local_steps": 1}))
    end = finish(plan, make(tmp_path, {5}, lambda delta: 500.0 * delta), tmp_path / "job")
    assert (end.stopped, end.rejected) == (None, [5])
    assert set(end.rounds[4].receipts) == set(SILOS)


class Killed(BaseException):
    pass


WRITES = ("begin", "commit", "remember")


def killed_at(monkeypatch: pytest.MonkeyPatch, at: int, run: Callable[[], object]) -> int:
    """Run with every write of the journal an instant before and one after it; die at instant `at` (0: never). Instants seen."""
    count, opened = 0, []

    def tick() -> None:
        nonlocal count
        count += 1
        if count == at:
            raise Killed

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def write(self: Journal, *args: Any, **kwargs: Any) -> Any:
            opened.append(self)
            tick()
            result = original(self, *args, **kwargs)
            tick()
            return result

        return write

    with monkeypatch.context() as patch:
        for name in WRITES:
            patch.setattr(Journal, name, watched(getattr(Journal, name)))
        with contextlib.suppress(Killed):
            run()
    opened[-1].close()  # as the end of a process does: what is not committed is gone
    return count


@pytest.mark.slow
@pytest.mark.parametrize("guard", [{"max_validation_drop": 0.15}, {"max_norm_ratio": 5.0, "max_validation_drop": 0.15}])
def test_a_guarded_job_killed_around_any_write_ends_the_same(
    guard: dict[str, Any], make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"training.local_steps": 4, "evaluation.every": 2, "federation.ema": 0.1}
    plan = guarded(guard, **(changes | {"federation.strategy": {"name": "FedAvgM", "momentum": 0.3}, "federation.rounds": 8}))
    bad = {5, 7}  # 5 is judged with round 6; 7 comes while the job recovers
    undisturbed = finish(plan, make(tmp_path / "0", bad, some_noise), tmp_path / "0" / "job")
    assert undisturbed.rejected
    total = killed_at(monkeypatch, 0, lambda: finish(plan, make(tmp_path / "1", bad, some_noise), tmp_path / "1" / "job"))
    for at in range(1, total + 1, 4):
        folder = tmp_path / f"killed-{at}"
        handlers = make(folder, bad, some_noise)
        assert killed_at(monkeypatch, at, lambda h=handlers, f=folder: finish(plan, h, f / "job")) == at  # type: ignore[misc]
        end = finish(plan, make(folder, bad, some_noise), folder / "job")
        assert end.model.tobytes() == undisturbed.model.tobytes(), f"killed at {at} of {total}"
        assert [(r.rejected, r.model_digest) for r in end.rounds] == [(r.rejected, r.model_digest) for r in undisturbed.rounds]
