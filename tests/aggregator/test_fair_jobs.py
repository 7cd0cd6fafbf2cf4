"""Whole jobs whose weights grow where the model serves a hospital badly."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from aggregator.job import Job
from aggregator.weights import shares_for, weights_after
from privacy.secure_aggregation.agreement import propose
from privacy.secure_aggregation.payload import payload_size
from privacy.secure_aggregation.sizing import overflow_proof, sizing
from protocol.errors import FederationError, PlanError, QuorumError
from protocol.messages import (
    Advertise,
    Advertised,
    Refusal,
    Request,
    Train,
    TrainMasked,
    Update,
    decode_release,
    encode,
)
from protocol.plan.fairness import least_share
from protocol.secure_aggregation import UPDATE
from protocol.transport.in_process import InProcessTransport
from protocol.vectors import to_wire
from tests.aggregator.test_secure_rounds import make, run
from tests.conftest import PRIVATE, tiny_node, tiny_plan, tiny_store

OPEN: dict[str, Any] = {"evaluation": {"alone": False}, "federation.rounds": 2}
Q = OPEN | {"federation.weighting": "q_ffl", "federation.fairness_q": 2.0, "federation.fairness_loss_bound": 1.0}
WORST = OPEN | {"federation.weighting": "worst_site", "federation.rounds": 3, "federation.fairness_rate": 5.0}
SECURE = {"privacy": {"mechanism": "none", "secure_aggregation": True}}


@pytest.mark.parametrize("changes", [Q, WORST], ids=["q_ffl", "worst_site"])
def test_masked_and_readable_updates_give_the_same_fair_model_and_not_the_equal_one(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    plain = run(make(tiny_plan(**changes), tmp_path / "plain")[0])
    masked = run(make(tiny_plan(**changes | SECURE), tmp_path / "masked")[0])
    equal = OPEN | {"federation.weighting": "uniform", "federation.rounds": changes["federation.rounds"]}
    uniform = run(make(tiny_plan(**equal), tmp_path / "equal")[0])
    assert np.abs(plain - masked).max() < 2e-5
    assert np.abs(plain - uniform).max() > 1e-3


@pytest.mark.parametrize("secure", [False, True])
def test_with_q_zero_the_model_is_that_of_equal_weights_bit_by_bit(secure: bool, tmp_path: Path) -> None:
    privacy = SECURE if secure else {}
    zero = tiny_plan(**Q | {"federation.fairness_q": 0.0} | privacy)
    equal = tiny_plan(**OPEN | {"federation.weighting": "uniform"} | privacy)
    assert np.array_equal(run(make(zero, tmp_path / "zero")[0]), run(make(equal, tmp_path / "equal")[0]))


def test_a_hospital_weighs_by_the_loss_of_the_model_it_received(tmp_path: Path) -> None:
    job, wire = make(tiny_plan(**Q), tmp_path)
    with closing(job.journal):
        job.run()
        records = job.rounds()
    updates = [one for _, data in wire.seen if isinstance(one := decode_release(data), Update) and one.address.round == 1]
    assert {round(one.weight / 10_000, 6) for one in updates} == {round(one, 6) for one in records[0].weights.values()}
    assert len({one.weight for one in updates}) == 4  # each has its own
    later = list(records[1].weights.values())
    assert np.mean(later) < np.mean(list(records[0].weights.values()))  # losses fell


def test_a_hospital_cannot_claim_more_than_the_loss_at_its_bound(tmp_path: Path) -> None:
    nodes = {f"s{i}": tiny_node(f"s{i}", tiny_store(tmp_path / f"s{i}", seed=i), tmp_path / f"state{i}") for i in range(3)}

    def boasting(data: bytes) -> bytes:
        reply = decode_release(nodes["s0"](data))
        return encode(msgspec.structs.replace(reply, weight=10**15) if isinstance(reply, Update) else reply)

    transport = InProcessTransport({**nodes, "s0": boasting})
    job = Job(tiny_plan(**Q), transport, tmp_path / "job", lambda _: None)
    with closing(job.journal):
        job.run()
        assert job.rounds()[0].weights["s0"] == 1.0


def test_the_weights_themselves_cannot_wrap_around(tmp_path: Path) -> None:
    narrow = {"privacy": {"mechanism": "none", "width_bits": 16, "update_bound": 1.0}}
    with pytest.raises(PlanError, match=r"federation.weight_bound: 4 hospitals x 10000 .* lower it to 8191"):
        sizing(tiny_plan(**Q | narrow), 4)
    plan = tiny_plan(**Q | narrow | {"federation.weight_bound": 8191})
    proof = overflow_proof(plan, 4)
    assert 4 * 8191 <= proof["largest_sum"] <= proof["room"]
    wide = tiny_plan(**Q | SECURE | {"federation.weight_bound": 1_000_000})
    assert overflow_proof(wide, 50)["largest_sum"] <= overflow_proof(wide, 50)["room"]


# ---------------------------------------------------------------------------------------------------------------- worst_site


@pytest.mark.parametrize("secure", [False, True])
def test_every_validation_moves_the_weights_and_the_record_shows_them(secure: bool, tmp_path: Path) -> None:
    job, _ = make(tiny_plan(**WORST | (SECURE if secure else {})), tmp_path)
    with closing(job.journal):
        job.run()
        rounds, scores = job.rounds(), job.scores()
        silos = tuple(job.rounds()[0].configured)
    assert set(rounds[0].weights.values()) == {1.0}
    for record in rounds[1:]:
        before = [one for one in scores if one.round < record.round]
        assert record.weights == shares_for(job.plan, silos, before, ())
    first = {silo: one.classes[0].auroc for silo, one in scores[0].scores.items()}
    weights = rounds[1].weights
    assert max(weights, key=lambda silo: weights[silo]) == min(first, key=lambda silo: first[silo] or 1.0)


@pytest.mark.parametrize("secure", [False, True])
def test_a_job_that_stopped_goes_on_with_the_same_weights(secure: bool, tmp_path: Path) -> None:
    plan, lost = tiny_plan(**WORST | (SECURE if secure else {})), [True]

    def lose(_: str, request: Request) -> bool:
        return lost[0] and isinstance(request, TrainMasked if secure else Train) and request.address.round == 2

    whole, _ = make(plan, tmp_path / "whole")
    with closing(whole.journal):
        whole.run()
        expected, model = [record.weights for record in whole.rounds()], whole.models.final()
    job, wire = make(plan, tmp_path / "stopped", lose=lose)
    with closing(job.journal), pytest.raises(QuorumError):
        job.run()
    lost[0] = False
    members = job._members
    again = Job(plan, wire, tmp_path / "stopped" / "job", lambda _: None, {}, members)
    with closing(again.journal):
        again.run()
        assert [record.weights for record in again.rounds()] == expected
        assert np.array_equal(again.models.final(), model)


def test_a_validation_that_the_guard_rejected_moves_nothing(tmp_path: Path) -> None:
    from aggregator.records import VerdictRecord

    job, _ = make(tiny_plan(**WORST), tmp_path)
    with closing(job.journal):
        job.run()
        scores, silos = job.scores(), job.rounds()[0].configured
    rejected = [VerdictRecord(2, 0.5, "worse", 1)]
    assert weights_after(job.plan, silos, scores, rejected) == weights_after(
        job.plan, silos, [one for one in scores if one.round != 2], ()
    )


def test_under_local_noise_the_weights_follow_the_noised_scores_and_cost_nothing_more(tmp_path: Path) -> None:
    plan = tiny_plan(**PRIVATE | {"federation.weighting": "worst_site", "federation.fairness_rate": 5.0})
    job, _ = make(plan, tmp_path / "fair")
    with closing(job.journal):
        job.run()
        rounds, entries = job.rounds(), {silo: one.entries for silo, one in job.rounds()[-1].receipts.items()}
    assert all(0.0 < weight <= 1.0 for record in rounds for weight in record.weights.values())
    equal, _ = make(tiny_plan(**PRIVATE), tmp_path / "equal")
    with closing(equal.journal):
        equal.run()
        assert {silo: one.entries for silo, one in equal.rounds()[-1].receipts.items()} == entries


def test_without_validation_patients_the_job_does_not_start(tmp_path: Path) -> None:
    split = {"data.split": {"use_fold_column": True, "validation_fraction": 0.0}}
    job, _ = make(tiny_plan(**WORST | split), tmp_path)
    with closing(job.journal), pytest.raises(FederationError, match="worst_site follows validations"):
        job.run()


def told(shares: Mapping[str, Any] | None, tmp_path: Path) -> Advertised | Refusal:
    """What a silo answers to a manifest with these shares."""
    plan = tiny_plan(**WORST | SECURE)
    job, wire = make(plan, tmp_path)
    with closing(job.journal):
        job._describe()
        size, address = payload_size(plan, job.models.layout.size), job._desk.address(1)
        wire_model = to_wire(job.models.initial)
        manifest = propose(plan, job.name, job._members, UPDATE, size, wire_model, shares=shares)
        (answer,) = [data for _, data in wire.exchange({"s0": encode(Advertise(address, manifest))}, 60.0)]
    assert isinstance(answer, bytes)
    release = decode_release(answer)
    assert isinstance(release, Advertised | Refusal)
    return release


LEAST = least_share(tiny_plan(**WORST).federation, 4)


@pytest.mark.parametrize(
    "shares",
    [
        None,
        {"s0": 1.0, "s1": 1.0, "s2": 1.0},
        {"s0": 1.0, "s1": 1.0, "s2": 1.0, "s3": "1"},
        {"s0": 1.0, "s1": 0.0, "s2": 0.0, "s3": 0.0},
        {"s0": 1.0, "s1": 1.0, "s2": 1.0, "s3": LEAST * 0.99},
        {"s0": 0.5, "s1": 0.5, "s2": 0.5, "s3": 0.5},
        {"s0": 2.0, "s1": 1.0, "s2": 1.0, "s3": 1.0},
    ],
)
def test_a_silo_refuses_weights_that_would_single_out_a_hospital(shares: Mapping[str, Any] | None, tmp_path: Path) -> None:
    answer = told(shares, tmp_path)
    assert isinstance(answer, Refusal)
    assert (answer.error, "manifest was refused" in answer.reason) == ("AggregationError", True)


def test_a_silo_accepts_weights_down_to_the_floor(tmp_path: Path) -> None:
    assert isinstance(told({"s0": 1.0, "s1": LEAST, "s2": LEAST, "s3": 0.5}, tmp_path), Advertised)
