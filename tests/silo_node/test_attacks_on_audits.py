"""What an aggregator may try to learn more from an audit than the plan foresees; each is refused, at the silo."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from evaluation.audit.edges import choose_edges
from evaluation.audit.layout import AuditLayout, layout_of
from evaluation.audit.sums import to_wire
from privacy.ledger import Ledger
from privacy.secure_aggregation.agreement import propose
from protocol.errors import GateError
from protocol.messages import (
    Address,
    Advertise,
    Advertised,
    AskVouch,
    Audit,
    AuditCounts,
    AuditMasked,
    Deliver,
    Edges,
    MaskedScores,
    Release,
    Reveal,
    Revealed,
    Score,
    ScoreMasked,
    Scores,
    TrainMasked,
)
from protocol.plan import Plan
from protocol.plan.load import parse_plan
from protocol.secure_aggregation import AUDIT, UPDATE, Manifest, scores_purpose
from silo_node.release_checks import check_kind, check_values
from tests.aggregator.audited_hospitals import audited_plan
from tests.conftest import GENEROUS
from tests.silo_node.test_attacks_on_summed_scores import NAMES, Aggregator, refused

MASKED = {"secure": True, "scores": "summed"}


class Auditor(Aggregator):
    """Whoever asks the hospitals for an audit, phase by phase or one by one."""

    @property
    def layout(self) -> AuditLayout:
        return layout_of(self.plan, NAMES)

    @property
    def edges(self) -> Edges:
        flat = np.ones(512, dtype=np.int64)
        pooled = [(flat, flat)] * self.layout.n_classes
        return tuple(tuple(float(edge) for edge in one) for one in choose_edges(self.layout, pooled))

    def agreed(self, edges: Edges | None = None, model: memoryview | None = None) -> Manifest:
        edges, model = edges or self.edges, model or self.model
        return propose(self.plan, "job-1", self.members, AUDIT, self.layout.size, model, edges)

    def ready(self, attempt: int = 0, manifest: Manifest | None = None) -> Address:
        """Everything but the counts themselves: everybody's shares are delivered."""
        address = self.address(2, AUDIT, attempt)
        boxes = self.boxes(address, self.keys(address, manifest or self.agreed()))
        self.each(lambda name: Deliver(address, boxes[name]))
        return address

    def counted(self, address: Address, edges: Edges | None = None, model: memoryview | None = None) -> dict[str, Any]:
        return self.each(lambda _: AuditMasked(address, model or self.model, edges or self.edges))

    def alone(self, name: str = "s0", **changes: Any) -> Release:
        wanted = {"address": self.address(2, AUDIT), "model": self.model, "edges": self.edges} | changes
        return self.ask(name, Audit(**wanted))


def shifted(edges: Edges, by: float = 0.01) -> Edges:
    """Edges that look like the plan's: every one that lies on no threshold is moved a little."""
    (one,) = edges
    marks = {round(float(np.log(t / (1 - t))), 6) for t in (0.1, 0.3, 0.5)}
    return (tuple(sorted(edge if round(edge, 6) in marks else edge + by for edge in one)),)


def plan_of(how: dict[str, Any]) -> Plan:
    return audited_plan(**how)


# ------------------------------------------------------------------------------------------------------- edges and models


@pytest.mark.parametrize("private", [False, True], ids=["open", "private"])
def test_edges_or_a_model_that_not_everyone_was_told_of_are_refused(private: bool, tmp_path: Path) -> None:
    auditor = Auditor(tmp_path, plan_of({**MASKED, "private": private}))
    address = auditor.ready()
    for answer in auditor.counted(address, edges=shifted(auditor.edges)).values():
        refused(answer, "AggregationError", "the edges are not those in the manifest")
    for answer in auditor.counted(address, model=memoryview(bytes(len(auditor.model)))).values():
        refused(answer, "AggregationError", "the model is not the one in the manifest")
    assert all(isinstance(one, MaskedScores) for one in auditor.counted(address).values())


@pytest.mark.parametrize(
    ("edges", "says"),
    [
        (lambda good: (good[0][:-1],), "17 edges"),
        (lambda good: (*good, *good), "2 classes"),
        (lambda good: (tuple(reversed(good[0])),), "ascend"),
        (lambda good: (tuple(edge + 1e-3 for edge in good[0]),), "threshold"),
    ],
    ids=["too few", "of another class", "descending", "beside the thresholds"],
)
def test_edges_that_are_not_the_plan_s_are_refused(edges: Any, says: str, tmp_path: Path) -> None:
    auditor = Auditor(tmp_path, plan_of({}))
    refused(auditor.alone(edges=edges(auditor.edges)), "MessageError", says)
    assert isinstance(auditor.alone(), AuditCounts)


def test_under_privacy_no_edges_are_laid_around_a_patient_and_nothing_is_paid_for_them(tmp_path: Path) -> None:
    auditor = Auditor(tmp_path, plan_of({"private": True}))
    refused(auditor.alone(edges=shifted(auditor.edges)), "MessageError", "under privacy the edges are fixed")
    refused(auditor.alone(model=memoryview(bytes(8))), "MessageError", "does not fit")
    assert not Ledger.open(tmp_path / "state-s0" / "ledger.jsonl").entries
    assert isinstance(auditor.alone(), AuditCounts)


@pytest.mark.parametrize("private", [False, True], ids=["open", "private"])
def test_asked_again_it_answers_the_same_and_asked_for_something_else_nothing(private: bool, tmp_path: Path) -> None:
    auditor = Auditor(tmp_path, plan_of({"private": private}))
    first = auditor.alone()
    assert isinstance(first, AuditCounts)
    other = memoryview(np.frombuffer(auditor.model, dtype=np.float32) * np.float32(1.5)).cast("B")
    says = "already answered" if private else "already asked for"
    for _ in range(2):
        again = auditor.alone(address=auditor.address(2, AUDIT, attempt=3))
        assert isinstance(again, AuditCounts)
        assert bytes(again.counts) == bytes(first.counts)
        refused(auditor.alone(model=other), "SiloError", says)
        if not private:
            refused(auditor.alone(edges=shifted(auditor.edges)), "SiloError", says)
        auditor.fresh("s0")
    if private:
        releases = [entry.release for entry in Ledger.open(tmp_path / "state-s0" / "ledger.jsonl").entries]
        assert releases == [AUDIT]


# ------------------------------------------------------------------------------------------------- when, and in whose name


@pytest.mark.parametrize("number", [0, 1, 3])
def test_an_audit_comes_after_the_last_round_only(number: int, tmp_path: Path) -> None:
    auditor = Auditor(tmp_path / "alone", plan_of({}))
    refused(auditor.alone(address=auditor.address(number, AUDIT)), "SiloError", "the plan foresees no audit")
    masked = Auditor(tmp_path / "masked", plan_of(MASKED))
    answer = masked.ask("s0", Advertise(masked.address(number, AUDIT), masked.agreed()))
    refused(answer, "SiloError", "the plan foresees no audit")


def test_a_plan_without_an_audit_has_none(tmp_path: Path) -> None:
    asked = Auditor(tmp_path / "with", plan_of({}))
    edges = asked.edges
    for how in ({}, MASKED):
        bare = audited_plan(**how)
        value = bare.to_json()
        value["evaluation"]["audit"] = None
        auditor = Auditor(tmp_path / str(len(how)), parse_plan(json.dumps(value)))
        answer = auditor.ask("s0", Audit(auditor.address(2, AUDIT), auditor.model, edges))
        assert type(answer).__name__ == "Refusal"
        if how:
            manifest = asked.agreed()
            answer = auditor.ask("s0", Advertise(auditor.address(2, AUDIT), manifest))
            refused(answer, "SiloError", "the plan foresees no audit")


def test_under_secure_aggregation_no_hospital_s_counts_leave_readable(tmp_path: Path) -> None:
    for number, scores in enumerate(("per_site", "summed")):
        auditor = Auditor(tmp_path / str(number), plan_of({"secure": True, "scores": scores}))
        refused(auditor.alone(), "SiloError", "the counts of an audit leave masked only")


def test_the_phases_of_an_audit_are_not_those_of_a_scoring_or_a_round(tmp_path: Path) -> None:
    auditor = Auditor(tmp_path, plan_of(MASKED))
    address = auditor.ready()
    refused(auditor.ask("s0", ScoreMasked(address, auditor.model)), "SiloError", "in the name of a round or an audit")
    refused(auditor.ask("s0", TrainMasked(address, 60.0, auditor.model)), "SiloError", "in the name of a scoring")
    for purpose in (UPDATE, scores_purpose("federated", "test")):
        wrong = AuditMasked(auditor.address(2, purpose), auditor.model, auditor.edges)
        refused(auditor.ask("s0", wrong), "SiloError", "in the name of something else")
    readable = Auditor(tmp_path / "readable", plan_of({}))
    wrong_name = Audit(readable.address(2, UPDATE), readable.model, readable.edges)
    refused(readable.ask("s0", wrong_name), "SiloError", "in the name of something else")
    scores = Score(readable.address(2, AUDIT), "federated", "test", readable.model)
    refused(readable.ask("s0", scores), "GateError", "not a release of this plan")


@pytest.mark.parametrize("private", [False, True], ids=["open", "private"])
def test_counts_that_were_opened_are_in_no_second_sum_not_even_after_a_restart(private: bool, tmp_path: Path) -> None:
    auditor = Auditor(tmp_path, plan_of({**MASKED, "private": private}))
    address = auditor.ready()
    assert all(isinstance(one, MaskedScores) for one in auditor.counted(address).values())
    vouches = tuple(one.vouch for one in auditor.each(lambda _: AskVouch(address, NAMES)).values())
    assert all(isinstance(one, Revealed) for one in auditor.each(lambda _: Reveal(address, vouches)).values())
    for manifest in (auditor.agreed(), auditor.agreed(edges=shifted(auditor.edges))):
        answer = auditor.ask("s0", Advertise(auditor.address(2, AUDIT, attempt=1), manifest))
        refused(answer, "AggregationError", "not put into a second sum")
    auditor.fresh("s1")
    answer = auditor.ask("s1", Advertise(auditor.address(2, AUDIT, attempt=1), auditor.agreed()))
    refused(answer, "AggregationError", "not put into a second sum")


def test_an_attempt_that_failed_may_be_repeated_but_not_with_other_edges(tmp_path: Path) -> None:
    auditor = Auditor(tmp_path, plan_of(MASKED))
    assert all(isinstance(one, MaskedScores) for one in auditor.counted(auditor.ready()).values())
    other = shifted(auditor.edges)
    address = auditor.ready(1, auditor.agreed(edges=other))
    for answer in auditor.counted(address, edges=other).values():
        refused(answer, "SiloError", "already asked for")
    assert all(isinstance(one, MaskedScores) for one in auditor.counted(auditor.ready(2)).values())


# ---------------------------------------------------------------------------------------------------------- policy and gate


@pytest.mark.parametrize(
    ("allowed", "how", "leaves"),
    [
        ("none", {"private": True}, False),
        ("noised", {"private": True}, True),
        ("noised", {"private": True, "secure": True}, True),
        ("noised", {}, False),
        ("noised", MASKED, False),
        ("summed", {}, False),
        ("summed", {"secure": True}, False),  # the opened sum holds each hospital's own group
        ("summed", MASKED, True),
        ("exact", {}, True),
        ("exact", {"secure": True}, True),
    ],
    ids=str,
)
def test_what_the_hospital_s_policy_says_of_scores_holds_for_audits(
    allowed: Any, how: dict[str, Any], leaves: bool, tmp_path: Path
) -> None:
    auditor = Auditor(tmp_path, plan_of(how), GENEROUS.model_copy(update={"scores": allowed}))
    if how.get("secure"):
        answer = auditor.ask("s0", Advertise(auditor.address(2, AUDIT), auditor.agreed()))
        wanted: type[Any] = Advertised
    else:
        answer, wanted = auditor.alone(), AuditCounts
    if leaves:
        assert isinstance(answer, wanted)
    else:
        refused(answer, "GateError", f"scores: {allowed}")


def test_the_gate_lets_out_counts_by_group_and_nothing_else_in_the_name_of_an_audit(tmp_path: Path) -> None:
    auditor = Auditor(tmp_path, plan_of({}))
    passage = auditor.nodes["s0"]._jobs["job-1"].passage
    address, answer = auditor.address(2, AUDIT), auditor.alone()
    assert isinstance(answer, AuditCounts)
    check_kind(answer, address, passage)
    check_values(answer, passage)
    scores = Scores(address, "federated", "test", 0, 0.0, 0.0, ())
    for wrong in (scores, MaskedScores(address, memoryview(b""), None)):
        with pytest.raises(GateError, match="not a release of this plan"):
            check_kind(wrong, address, passage)
    with pytest.raises(GateError, match="not a release of this plan"):
        check_kind(msgspec.structs.replace(answer, address=auditor.address(2, UPDATE)), auditor.address(2, UPDATE), passage)
    with pytest.raises(GateError, match="not a release of this plan"):
        check_kind(answer, address, replace(passage, audit=None))
    assert passage.audit is not None
    counts = np.frombuffer(answer.counts, dtype="<i8")
    for changed, says in (
        (np.append(counts, 0), "another length"),
        (counts - 1, "negative"),
        (counts + np.eye(1, len(counts), 0, dtype=np.int64)[0], "do not add up"),
        (counts * 2**40, "more than a sum"),
        (counts[::-1], "is none"),
    ):
        with pytest.raises(GateError, match=says):
            check_values(msgspec.structs.replace(answer, counts=to_wire(changed)), passage)


def test_nothing_is_paid_for_counts_that_could_not_be_masked(tmp_path: Path) -> None:
    auditor = Auditor(tmp_path, plan_of({"private": True, "secure": True}))
    address = auditor.address(2, AUDIT)
    auditor.boxes(address, auditor.keys(address, auditor.agreed()))  # and none is delivered
    refused(auditor.counted(address)["s0"], "AggregationError", "never delivered")
    assert not Ledger.open(tmp_path / "state-s0" / "ledger.jsonl").entries
