"""Whole jobs with secure aggregation: what the aggregator sees, who may drop out, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.job import Job
from protocol.errors import PlanError, QuorumError
from protocol.messages import (
    MaskedUpdate,
    PrivateUpdate,
    Refusal,
    Request,
    Reveal,
    Train,
    TrainMasked,
    Update,
    decode_release,
    decode_request,
    encode,
)
from protocol.plan import Plan
from protocol.secure_aggregation import Member
from protocol.transport.base import Failure
from protocol.transport.in_process import InProcessTransport
from silo_node.node import SiloNode
from tests.conftest import PRIVATE, tiny_node, tiny_plan, tiny_store

SECURE = {"privacy": {"mechanism": "none", "secure_aggregation": True}, "evaluation": {"alone": False}}
PRIVATE_SECURE = {**PRIVATE, "privacy": {**PRIVATE["privacy"], "secure_aggregation": True}}


class Wire:
    """The in-process transport, with everything the aggregator got, and requests that some silos never answer."""

    def __init__(self, nodes: Mapping[str, SiloNode], lose: Callable[[str, Request], bool] = lambda *_: False) -> None:
        self._inner, self._lose = InProcessTransport(nodes), lose
        self.seen: list[tuple[str, bytes]] = []

    @property
    def silos(self) -> tuple[str, ...]:
        return self._inner.silos

    def exchange(self, requests: Mapping[str, bytes], deadline_s: float) -> Iterator[tuple[str, bytes | Failure]]:
        lost = [silo for silo, data in requests.items() if self._lose(silo, decode_request(data))]
        for silo, reply in self._inner.exchange({k: v for k, v in requests.items() if k not in lost}, deadline_s):
            if isinstance(reply, bytes):
                self.seen.append((silo, reply))
            yield silo, reply
        for silo in lost:
            yield silo, Failure("timeout", "lost")


def make(
    plan: Plan, folder: Path, n: int = 4, lose: Callable[[str, Request], bool] = lambda *_: False, pin: bool = True
) -> tuple[Job, Wire]:
    nodes = {
        f"s{i}": tiny_node(f"s{i}", tiny_store(folder / f"s{i}", n=40 + 8 * i, seed=i), folder / f"state{i}") for i in range(n)
    }
    members = [Member(name, node.public_key) for name, node in nodes.items()]
    for node in nodes.values():
        node.pin(members if pin else ())
    wire = Wire(nodes, lose)
    return Job(plan, wire, folder / "job", lambda _: None, {}, members), wire


def run(job: Job) -> np.ndarray[Any, Any]:
    with closing(job.journal):
        job.run()
        return job.models.final()


@pytest.mark.parametrize("weighting", ["uniform", "samples", "positives"])
def test_the_model_is_the_one_that_readable_updates_would_have_given(weighting: str, tmp_path: Path) -> None:
    open_changes = {
        "evaluation": {"alone": False},
        "federation.weighting": weighting,
        "federation.rounds": 1,
        "federation.weight_bound": 60,
    }
    plain = run(make(tiny_plan(**open_changes), tmp_path / "plain")[0])
    job, wire = make(tiny_plan(**{**open_changes, **SECURE}), tmp_path / "secure")
    assert np.abs(run(job) - plain).max() < 2e-5
    assert not [reply for _, reply in wire.seen if isinstance(decode_release(reply), Update | PrivateUpdate)]


def test_no_count_no_loss_and_no_readable_update_stand_beside_the_masked_vector(tmp_path: Path) -> None:
    job, wire = make(tiny_plan(**SECURE), tmp_path)
    run(job)
    masked = [release for _, reply in wire.seen if isinstance(release := decode_release(reply), MaskedUpdate)]
    assert len(masked) == 4 * 3
    assert MaskedUpdate.__struct_fields__ == ("address", "masked", "receipt", "work")  # the last one in twentieths, no count
    values = np.concatenate([np.frombuffer(one.masked, dtype=np.uint32) for one in masked])
    ones = np.array([np.mean(values >> bit & 1) for bit in range(32)])
    assert np.abs(ones - 0.5).max() < 6 * 0.5 / np.sqrt(values.size)


@pytest.mark.parametrize("phase", ["keys", "shares", "delivery", "training", "vouches", "unmasking"])
def test_one_of_four_may_fall_silent_in_any_phase(phase: str, tmp_path: Path) -> None:
    at = {
        "keys": "Advertise",
        "shares": "ShareSecrets",
        "delivery": "Deliver",
        "training": "TrainMasked",
        "vouches": "AskVouch",
        "unmasking": "Reveal",
    }

    def lose(silo: str, request: Request) -> bool:
        return silo == "s2" and type(request).__name__ == at[phase] and request.address.round == 2

    job, _ = make(tiny_plan(**SECURE), tmp_path, lose=lose)
    with closing(job.journal):
        job.run()
        second = job.rounds()[1]
    assert "timeout" in second.failures["s2"]
    assert second.failures["s2"].startswith(phase)
    late = phase in ("vouches", "unmasking")  # its update was in the sum already
    assert ("s2" in second.aggregated) == late
    assert len(second.aggregated) == 3 + late


def test_below_the_threshold_the_round_fails_by_name_and_nothing_is_opened(tmp_path: Path) -> None:
    def lose(silo: str, request: Request) -> bool:
        return silo in ("s1", "s2") and isinstance(request, TrainMasked)

    job, wire = make(tiny_plan(**SECURE), tmp_path, lose=lose)
    with closing(job.journal), pytest.raises(QuorumError, match="no single update was revealed") as caught:
        job.run()
    assert "s1, s2: training: timeout" in str(caught.value)
    assert not [1 for _, reply in wire.seen if type(decode_release(reply)).__name__ in ("Vouched", "Revealed")]


def test_two_hospitals_cannot_hide_each_other_and_silos_that_pinned_nobody_refuse(tmp_path: Path) -> None:
    job, _ = make(tiny_plan(**SECURE), tmp_path / "two", n=2)
    with closing(job.journal), pytest.raises(PlanError, match="3 to 50"):
        job.run()
    job, _ = make(tiny_plan(**SECURE), tmp_path / "unpinned", pin=False)
    with closing(job.journal), pytest.raises(QuorumError, match="pinned no other silos"):
        job.run()


def test_a_silo_sends_no_readable_update_of_a_secure_plan_even_if_asked(tmp_path: Path) -> None:
    job, _ = make(tiny_plan(**SECURE), tmp_path)
    model = job.models.initial
    with closing(job.journal):
        job._describe()
        for node in job._transport._inner._inner._handlers.values():  # type: ignore[attr-defined]
            request = Train(job._desk.address(1), 60.0, memoryview(model.tobytes()))
            answer = decode_release(node(encode(request)))
            assert isinstance(answer, Refusal)
            assert "masked only" in answer.reason


def test_a_round_that_was_opened_is_not_put_into_a_second_sum(tmp_path: Path) -> None:
    """Without noise the same update in sums over different silos would be told by their difference."""
    plan = tiny_plan(**SECURE)
    opened: list[str] = []

    def lose(silo: str, request: Request) -> bool:
        if isinstance(request, Reveal) and request.address.attempt == 0 and request.address.round == 1:
            opened.append(silo)
        return isinstance(request, Reveal) and silo in ("s0", "s1", "s2") and request.address.attempt == 0

    job, wire = make(plan, tmp_path, lose=lose)
    with closing(job.journal), pytest.raises(QuorumError):
        job.run()
    assert opened
    nodes = wire._inner._handlers
    again = Job(plan, Wire(nodes), tmp_path / "job", lambda _: None, {}, job._members)
    with closing(again.journal):
        again.run()
        first = again.rounds()[0]
    assert "opened in another attempt" in first.failures["s3"]  # the one silo that had revealed its shares
    assert first.aggregated == ("s0", "s1", "s2")


def test_private_updates_are_masked_and_charged_once(tmp_path: Path) -> None:
    from privacy.ledger import Ledger

    job, wire = make(tiny_plan(**PRIVATE_SECURE), tmp_path)
    model = run(job)
    assert np.isfinite(model).all()
    assert not [reply for _, reply in wire.seen if isinstance(decode_release(reply), PrivateUpdate)]
    releases = [entry.release for entry in Ledger.open(tmp_path / "state0" / "ledger.jsonl").entries]
    assert [release for release in releases if release.startswith("round/")] == ["round/1", "round/2", "round/3"]


def test_mlflow_and_the_report_take_a_round_whose_weights_and_losses_nobody_knows(tmp_path: Path) -> None:
    from aggregator.summary import summarise
    from aggregator.tracking.names import of_round
    from evaluation.report.build import build_report

    job, _ = make(tiny_plan(**SECURE), tmp_path)
    with closing(job.journal):
        job.run()
        _, silos = of_round(job.rounds()[0])
        names = {name for metrics in silos.values() for name in metrics} - {"train/work"}
        assert not any(name.startswith(("train/", "federation/weight")) for name in names)
        model = {
            "network": "tiny",
            "n_parameters": 1,
            "digest": job.rounds()[-1].model_digest,
            "file": "m",
            "personal_parts": [],
        }
        report = build_report(summarise(job, model))
    assert report["privacy"]["secure_aggregation"] is True
    assert report["rounds"][0]["aggregated"] == ["s0", "s1", "s2", "s3"]
