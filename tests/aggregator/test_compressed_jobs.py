"""Whole jobs whose updates travel compressed: what arrives, what a poisoned silo may send, and what a kill leaves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from aggregator.job import Job
from aggregator.tracking.names import of_round
from protocol.compression import decompress, n_bytes
from protocol.errors import GateError
from protocol.messages import PrivateUpdate, Train, Update, decode_release, decode_request, encode
from protocol.plan import Plan
from protocol.transport.in_process import InProcessTransport
from silo_node.node import SiloNode
from silo_node.state import JobState
from tests.aggregator.test_secure_rounds import make
from tests.conftest import PRIVATE, tiny_node, tiny_plan, tiny_store

EIGHT, TOP = {"name": "quantised", "bits": 8}, {"name": "top_k", "fraction": 0.1}
OPEN: dict[str, Any] = {"evaluation": {"alone": False}, "privacy": {"mechanism": "none", "secure_aggregation": False}}
LOCAL: dict[str, Any] = PRIVATE | {"privacy": PRIVATE["privacy"] | {"secure_aggregation": False}}
Handler = Callable[[bytes], bytes]


def compressed(how: dict[str, Any], changes: dict[str, Any]) -> Plan:
    return tiny_plan(**changes, **{"federation.compression": how})


def nodes(folder: Path, n: int = 3) -> dict[str, SiloNode]:
    return {f"s{i}": tiny_node(f"s{i}", tiny_store(folder / f"s{i}", seed=i), folder / f"state{i}") for i in range(n)}


def finish(plan: Plan, handlers: dict[str, Any], folder: Path) -> np.ndarray:
    job = Job(plan, InProcessTransport(handlers), folder, lambda _: None)
    with closing(job.journal):
        job.run()
        return job.models.final()


@pytest.mark.parametrize("changes", [OPEN, LOCAL], ids=("open", "local"))
def test_the_record_and_mlflow_show_how_long_each_upload_was(changes: dict[str, Any], tmp_path: Path) -> None:
    plan = compressed(EIGHT, changes)
    handlers = nodes(tmp_path)
    job = Job(plan, InProcessTransport(handlers), tmp_path / "job", lambda _: None)
    with closing(job.journal):
        job.run()
        record, size = job.rounds()[0], job.models.layout.size
    bytes_each = n_bytes(plan.federation.compression, size)
    assert bytes_each < 0.27 * 4 * size
    assert record.upload_bytes == dict.fromkeys(handlers, bytes_each)
    parent, silos = of_round(record)
    assert parent["site/s0/upload_mb"] == silos["s0"]["federation/upload_mb"] == bytes_each / 1e6
    assert parent["federation/upload_mb"] == pytest.approx(3 * bytes_each / 1e6)


@pytest.mark.parametrize(("width", "bytes_each"), [(32, 4), (16, 2)])
def test_of_a_masked_update_the_record_says_its_length_too(width: int, bytes_each: int, tmp_path: Path) -> None:
    privacy = {"mechanism": "none", "secure_aggregation": True, "width_bits": width, "update_bound": 1.0}
    plan = tiny_plan(**{"federation.rounds": 1, "federation.weighting": "uniform"}, **OPEN | {"privacy": privacy})
    job, wire = make(plan, tmp_path)
    with closing(job.journal):
        job.run()
        record, size = job.rounds()[0], job.models.layout.size
    masked = [one for _, reply in wire.seen if hasattr(one := decode_release(reply), "masked")]
    assert {len(one.masked) for one in masked} == set(record.upload_bytes.values()) == {bytes_each * size}


@pytest.mark.parametrize("how", [{"name": "quantised", "bits": 16}, EIGHT], ids=("16", "8"))
def test_a_quantised_job_ends_near_the_exact_one(how: dict[str, Any], tmp_path: Path) -> None:
    exact = finish(tiny_plan(**OPEN), nodes(tmp_path / "exact"), tmp_path / "exact" / "job")
    rounded = finish(compressed(how, OPEN), nodes(tmp_path / "rounded"), tmp_path / "rounded" / "job")
    start = Job(tiny_plan(**OPEN), InProcessTransport(nodes(tmp_path / "start")), tmp_path / "start" / "job", lambda _: None)
    with closing(start.journal):
        moved = np.linalg.norm(exact - start.models.initial)
    assert 0 < np.linalg.norm(rounded - exact) < (0.05 if how["bits"] == 8 else 0.001) * moved


# ------------------------------------------------------------------------------------------------------------- silo's side


class Desk:
    """One silo asked round after round, and a way to restart it."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder, self.store = plan, folder, tiny_store(folder / "store")
        self.node = tiny_node("site", self.store, folder / "state")
        job = Job(plan, InProcessTransport(dict.fromkeys(("site", "other"), self.node)), folder / "job", lambda _: None)
        with closing(job.journal):
            job._describe()
        self.address, self.size, self.model = job._desk.address, job.models.layout.size, job.models.initial

    def restart(self) -> None:
        self.node = tiny_node("site", self.store, self.folder / "state")

    def train(self, number: int, attempt: int = 0) -> bytes:
        model = self.model + np.float32(0.001 * number)
        request = Train(self.address(number, attempt), 60.0, memoryview(model.tobytes()))
        answer = decode_release(self.node(encode(request)))
        assert isinstance(answer, Update | PrivateUpdate), answer
        return bytes(answer.delta)

    def held(self, before: int) -> np.ndarray | None:
        return JobState(self.folder / "state", self.address(1).job).unsent(before)


@pytest.mark.parametrize("changes", [OPEN, LOCAL], ids=("open", "local"))
@pytest.mark.parametrize("how", [EIGHT, TOP], ids=lambda how: how["name"])
def test_a_repeated_attempt_sends_the_same_bytes_also_after_a_restart(
    how: dict[str, Any], changes: dict[str, Any], tmp_path: Path
) -> None:
    desk = Desk(compressed(how, changes), tmp_path)
    first, second = desk.train(1), desk.train(2)
    desk.restart()
    assert desk.train(2, attempt=1) == second != first
    third = desk.train(3)
    desk.restart()
    assert desk.train(3, attempt=1) == third


def test_what_top_k_held_back_is_added_to_the_next_update(tmp_path: Path) -> None:
    plain = Desk(tiny_plan(**OPEN), tmp_path / "plain")
    desk = Desk(compressed(TOP, OPEN), tmp_path / "top")
    how = desk.plan.federation.compression
    wanted = sum(np.frombuffer(plain.train(number), "<f4") for number in (1, 2, 3))
    arrived = sum(decompress(how, desk.train(number), desk.size) for number in (1, 2, 3))
    held = desk.held(before=4)
    assert held is not None
    assert np.linalg.norm(held) > 0
    np.testing.assert_allclose(arrived + held, wanted, atol=1e-6)


def test_what_was_held_back_survives_rounds_the_silo_missed_and_old_rounds_are_forgotten(tmp_path: Path) -> None:
    desk = Desk(compressed(TOP, {**OPEN, "federation.rounds": 5}), tmp_path)
    desk.train(1)
    desk.train(2)
    first = desk.train(5)
    folder = JobState(tmp_path / "state", desk.address(1).job).folder
    assert sorted(path.name for path in folder.glob("unsent-*")) == ["unsent-00002.safetensors", "unsent-00005.safetensors"]
    desk.restart()
    assert desk.train(5, attempt=1) == first


def test_a_memory_that_is_damaged_is_not_used(tmp_path: Path) -> None:
    desk = Desk(compressed(TOP, OPEN), tmp_path)
    desk.train(1)
    folder = JobState(tmp_path / "state", desk.address(1).job).folder
    (folder / "unsent-00001.safetensors").write_bytes(b"junk")
    with pytest.raises(AssertionError, match="not a readable safetensors file"):
        desk.train(2)


def test_personal_parts_survive_rounds_the_silo_missed(tmp_path: Path) -> None:
    state = JobState(tmp_path, "job-1")
    state.folder.mkdir(parents=True)
    for number in (1, 2, 6):
        state.keep_personal(number, {"head": np.full(2, number, np.float32)}, keep_last=1)
    found = state.personal(before=6)
    assert found is not None
    assert found["head"].tolist() == [2.0, 2.0]
    assert state.personal(before=2) is None


def test_under_privacy_what_is_sent_is_made_of_what_was_noised_and_nothing_more_is_charged(tmp_path: Path) -> None:
    from privacy.ledger import Ledger

    desk = Desk(compressed(TOP, LOCAL), tmp_path)
    for number in (1, 2, 3):
        desk.train(number)
    entries = Ledger.open(tmp_path / "state" / "ledger.jsonl").entries
    assert [entry.release for entry in entries] == ["round/1", "round/2", "round/3"]


@pytest.mark.parametrize("how", [EIGHT, TOP], ids=lambda how: how["name"])
@pytest.mark.parametrize("bad", ["float32", "short", "nan"])
def test_the_gate_lets_no_update_out_that_is_not_of_the_plan_s_form(how: dict[str, Any], bad: str, tmp_path: Path) -> None:
    desk = Desk(compressed(how, OPEN), tmp_path)
    data = bytearray(desk.train(1))
    passage = desk.node._jobs[desk.address(1).job].passage
    good = Update(desk.address(1), memoryview(bytes(data)), 10, 5, 0.5, 0.0, 1, 1.0)
    assert desk.node._gate.release(good, good.address, passage) == encode(good)
    if bad == "float32":
        data = bytearray(np.zeros(desk.size, "<f4").tobytes())
    elif bad == "short":
        del data[-1]
    else:
        at = 0 if how is EIGHT else 4 * round(0.1 * desk.size)
        data[at : at + 4] = np.float32(np.nan).tobytes()
    with pytest.raises(GateError, match="not finite" if bad == "nan" else "another form"):
        desk.node._gate.release(msgspec.structs.replace(good, delta=memoryview(bytes(data))), good.address, passage)


# ----------------------------------------------------------------------------------------------------------------- poison


def poisoned(node: SiloNode, change: Callable[[bytearray], None]) -> Handler:
    """The node with its updates changed after its gate."""

    def serve(data: bytes) -> bytes:
        reply = node(data)
        update = decode_release(reply)
        if not (isinstance(decode_request(data), Train) and isinstance(update, Update)):
            return reply
        delta = bytearray(update.delta)
        change(delta)
        return encode(msgspec.structs.replace(update, delta=memoryview(bytes(delta))))

    return serve


def infinite_scale(delta: bytearray) -> None:
    delta[0:4] = np.float32(np.inf).tobytes()


def huge_scale(delta: bytearray) -> None:
    delta[0:4] = np.float32(3e38).tobytes()


def cut(delta: bytearray) -> None:
    del delta[-1]


@pytest.mark.parametrize("change", [infinite_scale, huge_scale, cut], ids=lambda change: change.__name__)
def test_a_poisoned_form_is_left_out_by_name_and_the_others_go_on(change: Callable[..., None], tmp_path: Path) -> None:
    handlers: dict[str, Any] = nodes(tmp_path)
    handlers["s1"] = poisoned(handlers["s1"], change)
    job = Job(compressed(EIGHT, OPEN), InProcessTransport(handlers), tmp_path / "job", lambda _: None)
    with closing(job.journal):
        job.run()
        record = job.rounds()[0]
        assert np.isfinite(job.models.final()).all()
    assert record.aggregated == ("s0", "s2")
    assert "it was not used" in record.failures["s1"]
    assert set(record.upload_bytes) == {"s0", "s2"}


def repeated_place(delta: bytearray) -> None:
    delta[4:8] = delta[0:4]


def test_places_that_are_not_the_model_s_are_left_out(tmp_path: Path) -> None:
    handlers: dict[str, Any] = nodes(tmp_path)
    handlers["s2"] = poisoned(handlers["s2"], repeated_place)
    job = Job(compressed(TOP, OPEN), InProcessTransport(handlers), tmp_path / "job", lambda _: None)
    with closing(job.journal):
        job.run()
        record = job.rounds()[0]
    assert "do not ascend" in record.failures["s2"]


def backwards(delta: bytearray) -> None:
    """Every scale a thousand times as large and negative."""
    n = -(-len(delta) // 1028)  # blocks of 1024 values of 8 bits, each with a scale of 4 bytes
    delta[: 4 * n] = (np.frombuffer(bytes(delta[: 4 * n]), "<f4") * np.float32(-1000)).tobytes()


def test_defences_work_on_the_restored_updates(tmp_path: Path) -> None:
    ends = {}
    for name, attacked, changes in (
        ("honest", False, {}),
        ("mean", True, {}),
        ("median", True, {"federation.aggregation": {"name": "median"}}),
        ("krum", True, {"federation.aggregation": {"name": "krum", "byzantine": 1}}),
        ("bound", True, {"federation.norm_bound": 0.1}),
    ):
        handlers: dict[str, Any] = nodes(tmp_path / name, 5)
        if attacked:
            handlers["s4"] = poisoned(handlers["s4"], backwards)
        rules = {"federation.quorum": 5, "federation.weighting": "uniform", "federation.rounds": 1}
        ends[name] = finish(compressed(EIGHT, OPEN | rules | changes), handlers, tmp_path / name / "job")
    away = {name: float(np.linalg.norm(end - ends["honest"])) for name, end in ends.items()}
    assert away["mean"] > 20
    assert max(away[name] for name in ("median", "krum", "bound")) < 1


def test_the_report_says_how_much_was_sent(tmp_path: Path) -> None:
    from aggregator.summary import summarise
    from evaluation.report.build import build_report
    from evaluation.report.render import render_html

    plan = compressed(EIGHT, OPEN)
    job = Job(plan, InProcessTransport(nodes(tmp_path)), tmp_path / "job", lambda _: None)
    with closing(job.journal):
        job.run()
        model = {
            "network": "tiny",
            "n_parameters": 1,
            "digest": job.rounds()[-1].model_digest,
            "file": "m",
            "personal_parts": [],
        }
        report = build_report(summarise(job, model))
        one = n_bytes(plan.federation.compression, job.models.layout.size)
    assert [entry["upload_bytes"] for entry in report["rounds"]] == [dict.fromkeys(("s0", "s1", "s2"), one)] * 3
    assert f"{3 * 3 * one / 1000:.1f} kB long in all" in render_html(report)
