"""A silo that fails is recorded and left out; below quorum the round fails loudly; nothing unusable is ever aggregated."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors import SafetensorError

from aggregator.events import Event
from aggregator.job import Job
from protocol.errors import JournalError, QuorumError
from protocol.messages import Release, Train, Update, decode_release, decode_request, encode
from protocol.plan import Plan
from protocol.transport.base import Handler
from protocol.transport.in_process import InProcessTransport
from protocol.vectors import save_tensors, to_wire
from tests.conftest import MakePlan, tiny_node, tiny_store

Change = Callable[[Update], Release | bytes]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, object]:
    folder = tmp_path_factory.mktemp("stores")
    return {name: tiny_store(folder / name, seed=seed) for seed, name in enumerate("abc")}


@pytest.fixture
def handlers(stores: Mapping[str, object], tmp_path: Path) -> dict[str, Handler]:
    return {name: tiny_node(name, store, tmp_path / name) for name, store in stores.items()}  # type: ignore[arg-type]


def tampered(handler: Handler, change: Change, round_number: int = 2) -> Handler:
    """The handler, except that its update of one round goes through `change`."""

    def serve(data: bytes) -> bytes:
        request = decode_request(data)
        reply = handler(data)
        if isinstance(request, Train) and request.address.round == round_number:
            update = decode_release(reply)
            assert isinstance(update, Update)
            changed = change(update)
            return changed if isinstance(changed, bytes) else encode(changed)
        return reply

    return serve


def run(plan: Plan, handlers: Mapping[str, Handler], out: Path) -> Job:
    events: list[Event] = []
    job = Job(plan, InProcessTransport(handlers), out / "job", events.append)
    with closing(job.journal):
        job.run()
        job.final = job.models.final()  # type: ignore[attr-defined]
        job.records = job.journal.rounds()  # type: ignore[attr-defined]
    return job


def with_nan(update: Update) -> Update:
    delta = np.frombuffer(update.delta, dtype="<f4").copy()
    delta[7] = np.nan
    return msgspec.structs.replace(update, delta=to_wire(delta))


def slow(update: Update) -> Update:
    time.sleep(5.0)
    return update


def readdressed(update: Update, **changes: int) -> Update:
    return msgspec.structs.replace(update, address=msgspec.structs.replace(update.address, **changes))


BAD: dict[str, tuple[Change, str]] = {
    "nan": (with_nan, "not finite"),
    "too short": (lambda u: msgspec.structs.replace(u, delta=u.delta[:-4]), "values"),
    "half a value": (lambda u: msgspec.structs.replace(u, delta=u.delta[:-1]), "whole number"),
    "another round": (lambda u: readdressed(u, round=1), "another job"),
    "another attempt": (lambda u: readdressed(u, attempt=9), "another job"),
    "not a message": (lambda _: b"\xc1", "not a release"),
    "another message": (lambda u: _done(u), "not the Update"),
    "too late": (slow, "timeout"),
}


def _done(update: Update) -> Release:
    from protocol.messages import Done

    return Done(update.address, 1.0)


@pytest.mark.parametrize("name", BAD)
def test_an_unusable_update_is_named_and_left_out(
    name: str, handlers: dict[str, Handler], make_plan: MakePlan, tmp_path: Path
) -> None:
    change, says = BAD[name]
    plan = make_plan(**{"federation.round_deadline_s": 4.0 if name == "too late" else 30.0})
    handlers["b"] = tampered(handlers["b"], change)
    records = run(plan, handlers, tmp_path).records  # type: ignore[attr-defined]
    assert [record.aggregated for record in records[:2]] == [("a", "b", "c"), ("a", "c")]
    # A late silo may still be at work when the next round begins; any other is back at once.
    assert records[2].aggregated == ("a", "b", "c") or "busy" in records[2].failures["b"]
    assert says in records[1].failures["b"]
    assert records[1].configured == ("a", "b", "c")
    assert "b" not in records[1].weights


def test_the_model_is_what_it_would_be_without_the_bad_silo(
    handlers: dict[str, Handler], make_plan: MakePlan, tmp_path: Path
) -> None:
    plan = make_plan(**{"federation.rounds": 1, "evaluation.alone": False})
    without = run(plan, {k: v for k, v in handlers.items() if k != "b"}, tmp_path / "without").final  # type: ignore[attr-defined]
    handlers["b"] = tampered(handlers["b"], with_nan, 1)
    assert run(plan, handlers, tmp_path / "with").final.tobytes() == without.tobytes()  # type: ignore[attr-defined]


def test_below_quorum_the_round_fails_loudly_and_resumes_at_the_same_round(
    handlers: dict[str, Handler], make_plan: MakePlan, tmp_path: Path
) -> None:
    plan = make_plan(**{"federation.quorum": 3})
    undisturbed = run(plan, dict(handlers), tmp_path / "other").final  # type: ignore[attr-defined]
    broken = dict(handlers) | {"b": tampered(handlers["b"], with_nan)}
    with pytest.raises(QuorumError, match=r"round 2: 2 of 3 silos[\s\S]*b: the update holds 1 values"):
        run(plan, broken, tmp_path)
    job = run(plan, handlers, tmp_path)
    assert [(record.round, record.attempt) for record in job.records] == [(1, 0), (2, 1), (3, 0)]  # type: ignore[attr-defined]
    assert job.final.tobytes() == undisturbed.tobytes()  # type: ignore[attr-defined]


def test_a_silo_whose_cohort_does_not_fit_is_recorded_every_round(
    handlers: dict[str, Handler], make_plan: MakePlan, tmp_path: Path
) -> None:
    store = tiny_store(tmp_path / "odd", target="tumour")
    handlers["odd"] = tiny_node("odd", store, tmp_path / "odd-state")
    records = run(make_plan(), handlers, tmp_path).records  # type: ignore[attr-defined]
    for record in records:
        assert record.configured == ("a", "b", "c", "odd")
        assert record.aggregated == ("a", "b", "c")
        assert "no sample has a label 'finding'" in record.failures["odd"]


def test_a_folder_with_another_plan_or_roster_is_refused(
    handlers: dict[str, Handler], make_plan: MakePlan, tmp_path: Path
) -> None:
    plan = make_plan(**{"federation.rounds": 1, "evaluation.alone": False})
    run(plan, handlers, tmp_path)
    with pytest.raises(JournalError, match="another plan"):
        run(make_plan(seed=9), handlers, tmp_path)
    with pytest.raises(JournalError, match="with the silos a, b, c"):
        run(plan, {k: handlers[k] for k in "ab"}, tmp_path)


def test_a_cohort_that_changed_since_the_job_began_is_refused(
    handlers: dict[str, Handler], make_plan: MakePlan, tmp_path: Path
) -> None:
    plan = make_plan(**{"federation.rounds": 1, "evaluation.alone": False})
    run(plan, handlers, tmp_path)
    handlers["a"] = tiny_node("a", tiny_store(tmp_path / "new", seed=77), tmp_path / "a")
    with pytest.raises(JournalError, match="cohort of a changed"):
        run(plan, handlers, tmp_path)


def test_two_processes_cannot_drive_one_job(handlers: dict[str, Handler], make_plan: MakePlan, tmp_path: Path) -> None:
    first = Job(make_plan(), InProcessTransport(handlers), tmp_path / "job", lambda _: None)
    with closing(first.journal), pytest.raises(JournalError, match="another run"):
        Job(make_plan(), InProcessTransport(handlers), tmp_path / "job", lambda _: None)


def test_a_model_file_that_was_changed_is_refused(handlers: dict[str, Handler], make_plan: MakePlan, tmp_path: Path) -> None:
    run(make_plan(**{"federation.rounds": 1}), handlers, tmp_path)
    (path,) = (tmp_path / "job" / "models").iterdir()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(JournalError, match="not the one"):
        run(make_plan(**{"federation.rounds": 1}), handlers, tmp_path)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk_is_a_clear_error_and_the_job_goes_on_once_there_is_space(
    error: Exception, handlers: dict[str, Handler], make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(**{"evaluation.alone": False})
    undisturbed = run(plan, handlers, tmp_path / "other").final  # type: ignore[attr-defined]

    def full(path: Path, *_: object) -> None:
        if path.name == "round-00002.safetensors":
            raise error
        save_tensors(path, *_)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("aggregator.journal.save_tensors", full)
        with pytest.raises(JournalError, match=r"Free space, then run again with --resume"):
            run(plan, handlers, tmp_path)
    assert run(plan, handlers, tmp_path).final.tobytes() == undisturbed.tobytes()  # type: ignore[attr-defined]
