"""Whole jobs that are audited: the counts are those of all rows together, and what goes wrong costs the audit, not the job."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.events import Audited
from aggregator.job import Job
from aggregator.summary import summarise
from evaluation import noisy_histograms
from evaluation.noisy_histograms import noise_variance
from evaluation.report.build import build_report
from privacy.events import mechanisms, metric_event
from privacy.guarantee import guarantee_of
from privacy.ledger import Ledger
from protocol.errors import PlanError
from protocol.messages import AuditCounts, MaskedScores, Request, Revealed, decode_release
from protocol.plan.load import parse_plan
from protocol.secure_aggregation import AUDIT as PURPOSE
from tests.aggregator.audited_hospitals import (
    SILOS,
    THREE,
    Lose,
    audited,
    audited_plan,
    counted_centrally,
    done,
    hospitals,
)
from tests.aggregator.test_secure_rounds import Wire
from tests.conftest import tiny_plan

# ---------------------------------------------------------------------------------------------------------------- the sum


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"secure": True},
        {"secure": True, "scores": "summed"},
        {"three": True},
        {"three": True, "secure": True, "scores": "summed"},
    ],
    ids=["open", "secure", "secure and summed", "three classes", "three classes, summed"],
)
def test_the_counts_are_those_of_all_test_rows_in_one_table(how: dict[str, Any], tmp_path: Path) -> None:
    """A hospital without test patients is among them."""
    three = bool(how.pop("three", False))
    plan = audited_plan(**how, **(THREE if three else {}))
    nodes = hospitals(tmp_path, n_classes=3 if three else 2, untested=("s2",))
    job, _ = audited(plan, tmp_path, nodes)
    record, layout = done(job), job.audit_layout
    assert (record.sites, record.failures, record.unsummed, record.receipts) == (SILOS, {}, None, {})
    assert layout.sites == (() if how.get("scores") == "summed" else SILOS)
    counts, patients = layout.split(np.array(record.counts))
    expected, owners = counted_centrally(layout, record, job, nodes)
    assert expected[0, 0].sum() > 30  # else this test says little
    assert min(expected[0, 0].sum(axis=1)) > 5
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(patients, owners)


def test_edges_follow_from_the_test_s_own_histogram_and_hold_every_threshold(tmp_path: Path) -> None:
    single = done(audited(audited_plan(), tmp_path / "a", hospitals(tmp_path / "a"))[0])
    plan = audited_plan(secure=True, scores="summed")
    job, _ = audited(plan, tmp_path / "b", hospitals(tmp_path / "b"))
    summed, layout = done(job), job.audit_layout
    assert len(single.edges) == 1
    assert len(single.edges[0]) == layout.n_edges == 15 + 3
    for threshold in (0.1, 0.3, 0.5):
        assert min(abs(edge - np.log(threshold / (1 - threshold))) for edge in summed.edges[0]) < 1e-9
    # The secure job's model differs in the last digits, and with it the scores; the bins hold about the same shares.
    counts = layout.split(np.array(summed.counts))[0][0, 0].sum(axis=0)
    assert counts.max() <= 4 * max(1, counts.sum() // 16)


def test_without_secure_aggregation_each_hospital_answers_with_its_own_group_alone(tmp_path: Path) -> None:
    job, wire = audited(audited_plan(), tmp_path, hospitals(tmp_path))
    record, layout = done(job), job.audit_layout
    answers = answers_of(wire, AuditCounts)
    assert len(answers) == 4
    own = layout.size - layout.n_classes * 3 * 2 * (layout.n_bins + 2)  # the groups of the three others
    assert {len(one.counts) for one in answers} == {8 * own}
    counts, _ = layout.split(np.array(record.counts))
    np.testing.assert_array_equal(counts[:, 1:5].sum(axis=1), counts[:, 0])
    assert (counts[0, 1:5].sum(axis=(1, 2)) > 0).all()


def test_under_masks_nothing_of_a_single_hospital_reaches_the_aggregator(tmp_path: Path) -> None:
    job, wire = audited(audited_plan(secure=True, scores="summed"), tmp_path, hospitals(tmp_path))
    done(job)
    masked = [one for one in answers_of(wire, MaskedScores) if one.address.purpose == PURPOSE]
    assert len(masked) == 4
    assert {len(one.masked) for one in masked} == {4 * job.audit_layout.size}
    assert not answers_of(wire, AuditCounts)
    values = np.concatenate([np.frombuffer(one.masked, dtype=np.uint32) for one in masked])
    ones = np.array([np.mean(values >> bit & 1) for bit in range(32)])
    assert np.abs(ones - 0.5).max() < 6 * 0.5 / np.sqrt(values.size)


def test_a_plan_without_an_audit_asks_for_none(tmp_path: Path) -> None:
    job, wire = audited(tiny_plan(**{"federation.rounds": 1}), tmp_path, hospitals(tmp_path, n=2))
    with closing(job.journal):
        job.run()
        assert job.audit() is None
    assert not answers_of(wire, AuditCounts)


def answers_of(wire: Wire, kind: Any) -> list[Any]:
    return [one for _, reply in wire.seen if isinstance(one := decode_release(reply), kind)]


# ---------------------------------------------------------------------------------------------------------------- privacy


@pytest.mark.parametrize("secure", [False, True], ids=["local", "secure"])
def test_every_private_count_carries_the_noise_of_each_hospital_that_may_have_patients_in_it(
    secure: bool, tmp_path: Path
) -> None:
    """Nobody is tested, so the counts are the noise: that of all hospitals, and in the group of one hospital its own."""
    plan = audited_plan(private=True, secure=secure)
    job, _ = audited(plan, tmp_path, hospitals(tmp_path, untested=SILOS))
    record, layout = done(job), job.audit_layout
    counts, patients = layout.split(np.array(record.counts))
    assert patients is None
    assert layout.votes == 6  # of everyone, the hospitals, sex, age, maker, sex with age; one class
    of_site = np.array([group.site is not None for group in layout.groups])
    for noise, hospitals_in_it in ((counts[:, ~of_site], 4), (counts[:, of_site], 1)):
        expected = hospitals_in_it * noise_variance(layout.votes / 2.0)
        assert np.var(noise) == pytest.approx(expected, rel=4 * np.sqrt(5 / noise.size))


@pytest.mark.parametrize("secure", [False, True], ids=["local", "secure"])
def test_each_patient_has_one_vote_in_each_family_and_pays_for_it_once(
    secure: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("silo_node.audit_answers.discrete_laplace", lambda n, *_: np.zeros(n, dtype=np.int64))
    nodes = hospitals(tmp_path)
    job, _ = audited(audited_plan(private=True, secure=secure), tmp_path, nodes)
    record, layout = done(job), job.audit_layout
    assert len(record.edges[0]) == len(noisy_histograms.EDGES) + 3
    counts, _ = layout.split(np.array(record.counts))
    tested = {}
    for site in SILOS:
        cohort = nodes[site]._jobs[job.name].cohort
        tested[site] = len(set(cohort.patients[list(cohort.parts.test)].tolist()))
    families: dict[str, int] = {}
    for index, group in enumerate(layout.groups):
        families[group.attribute] = families.get(group.attribute, 0) + int(counts[0, index].sum())
        if group.site is not None:
            assert counts[0, index].sum() == tested[group.site]
    assert set(families.values()) == {sum(tested.values())}
    for site in SILOS:
        entries = Ledger.open(tmp_path / f"state-{site}" / "ledger.jsonl").entries
        assert [entry.release for entry in entries if entry.part == "test"] == ["scores/2/federated/test", PURPOSE]
        assert mechanisms([entries[-1].event]) == mechanisms([metric_event(2.0)])
        assert record.receipts[site].entries == len(entries)


def test_the_guarantee_counts_the_audit_on_the_test_part_and_on_no_other() -> None:
    without = guarantee_of(tiny_plan(**{**dict(audited_plan(private=True).to_json()), "evaluation.audit": None}))
    having = guarantee_of(audited_plan(private=True))
    assert having.epsilon_by_part["test"] == pytest.approx(without.epsilon_by_part["test"] + 2.0, rel=1e-3)
    assert having.epsilon_by_part["validation"] == without.epsilon_by_part["validation"]
    assert having.epsilon_by_part["train"] == without.epsilon_by_part["train"]


def test_an_audit_that_costs_more_than_the_plan_may_is_refused_by_name() -> None:
    text = audited_plan(private=True).to_json()
    text["privacy"] |= {"noise_multiplier": None, "epsilon": 3.0}
    with pytest.raises(PlanError, match=r"epsilon 4.*Lower evaluation\.audit\.epsilon \(2\)"):
        guarantee_of(parse_plan(json.dumps(text)))


def test_an_audit_without_a_test_part_is_refused_by_name() -> None:
    plan = audited_plan().to_json()
    plan["data"]["split"] = {"test_fraction": 0.0, "use_fold_column": False}
    with pytest.raises(PlanError, match=r"evaluation\.audit: no patient is tested"):
        parse_plan(json.dumps(plan))


# ------------------------------------------------------------------------------------------------ what fails, kill and resume

MASKED = {"secure": True, "scores": "summed"}


def losing(silos: tuple[str, ...], *phases: str, purpose: str = PURPOSE, times: int = 99) -> Lose:
    left = dict.fromkeys(silos, times)

    def lose(silo: str, request: Request) -> bool:
        wanted = type(request).__name__ in phases and request.address.purpose == purpose
        if not wanted or not left.get(silo):
            return False
        left[silo] -= 1
        return True

    return lose


@pytest.mark.parametrize(
    ("how", "phase", "late"),
    [({}, "Audit", False), ({"secure": True}, "AuditMasked", False), (MASKED, "Reveal", True)],
    ids=str,
)
def test_one_of_four_may_fall_silent_and_the_record_says_who_is_in_the_counts(
    how: dict[str, Any], phase: str, late: bool, tmp_path: Path
) -> None:
    nodes = hospitals(tmp_path)
    job, _ = audited(audited_plan(**how), tmp_path, nodes, losing(("s1",), phase))
    record = done(job)
    assert record.sites == (SILOS if late else ("s0", "s2", "s3"))
    assert "timeout" in record.failures["s1"]
    expected, owners = counted_centrally(job.audit_layout, record, job, nodes)
    counts, patients = job.audit_layout.split(np.array(record.counts))
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(patients, owners)


@pytest.mark.parametrize(
    ("how", "phase", "why"),
    [
        ({"federation.quorum": 3}, "Audit", "QuorumError: 2 of 4 hospitals answered the audit, the plan's quorum is 3"),
        ({"secure": True}, "AuditMasked", "AggregationError: 2 masked vectors arrived, 3 are needed"),
    ],
    ids=["open", "summed"],
)
def test_with_too_few_hospitals_the_job_ends_without_an_audit_and_says_why(
    how: dict[str, Any], phase: str, why: str, tmp_path: Path
) -> None:
    job, _ = audited(audited_plan(**how), tmp_path, hospitals(tmp_path), losing(("s1", "s2"), phase))
    with closing(job.journal):
        job.run()
        record, report = job.audit(), build_report(summarise(job, facts(job)))
    assert record is not None
    assert (record.counts, record.sites, set(record.failures)) == ((), (), {"s1", "s2"})
    assert record.unsummed is not None
    assert record.unsummed.startswith(why)
    assert report["audit"]["reason"] == record.unsummed
    assert report["audit"]["classes"] == []


def test_where_only_sums_are_known_the_audit_is_of_the_hospitals_in_the_test_s_sum_or_there_is_none(tmp_path: Path) -> None:
    """Else the difference of the two sums would be the counts of one hospital."""
    nodes = hospitals(tmp_path / "a")
    job, wire = audited(audited_plan(**MASKED), tmp_path / "a", nodes, losing(("s1",), "AuditMasked"))
    record = done(job)
    assert (record.counts, record.sites) == ((), ())
    assert record.unsummed is not None
    assert record.unsummed.startswith("AggregationError: s1 sent no counts, and without them the sum is not opened")
    assert not [one for one in answers_of(wire, Revealed) if one.address.purpose == PURPOSE]
    lose = losing(("s1",), "ScoreMasked", purpose="scores/federated/test")
    job, _ = audited(audited_plan(**MASKED), tmp_path / "b", nodes := hospitals(tmp_path / "b"), lose)
    record = done(job)
    assert record.sites == ("s0", "s2", "s3")
    counts, _ = job.audit_layout.split(np.array(record.counts))
    np.testing.assert_array_equal(counts, counted_centrally(job.audit_layout, record, job, nodes)[0])


def test_without_a_scoring_there_are_no_edges_and_no_counts_are_asked_for(tmp_path: Path) -> None:
    lose = losing(SILOS, "ScoreMasked", purpose="scores/federated/test")
    job, wire = audited(audited_plan(**MASKED), tmp_path, hospitals(tmp_path), lose)
    record = done(job)
    assert record.unsummed is not None
    assert "nothing says where to cut its scores into bins" in record.unsummed
    assert not [one for one in answers_of(wire, MaskedScores) if one.address.purpose == PURPOSE]


def test_what_failed_once_under_masks_is_tried_again(tmp_path: Path) -> None:
    """Three hospitals all must stay."""
    for number, phase in enumerate(("Advertise", "AuditMasked", "AskVouch")):
        folder = tmp_path / str(number)
        job, _ = audited(audited_plan(**MASKED), folder, hospitals(folder, n=3), losing(("s1",), phase, times=1))
        assert done(job).sites == ("s0", "s1", "s2")


def moved(vector: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The counts of a hospital that takes ten women for men, in everyone's bins."""
    changed = vector.copy()
    changed[0] += 10
    return changed


def test_masked_counts_that_do_not_fit_together_are_no_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from silo_node import audit_answers

    counted = audit_answers.count_images
    monkeypatch.setattr(
        audit_answers, "count_images", lambda layout, site, *a: (moved if site == "s1" else np.copy)(counted(layout, site, *a))
    )
    job, _ = audited(audited_plan(**MASKED), tmp_path, hospitals(tmp_path))
    record = done(job)
    assert (record.counts, record.sites) == ((), ())
    assert record.unsummed is not None
    assert record.unsummed.startswith(
        "EvaluationError: the sum holds no counts of images by group: the groups by sex do not add"
    )


def test_readable_counts_that_do_not_fit_together_are_left_out_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hospital's own gate would refuse them; here its gate looks away."""
    from silo_node import audit_answers, release_checks

    counted = audit_answers.count_images
    monkeypatch.setattr(
        audit_answers, "count_images", lambda layout, site, *a: (moved if site == "s1" else np.copy)(counted(layout, site, *a))
    )
    job, _ = audited(audited_plan(), tmp_path / "a", hospitals(tmp_path / "a"))
    assert "GateError: what was to leave as the counts of the audit is none" in done(job).failures["s1"]
    monkeypatch.setattr(release_checks, "check_counts", lambda *_: None)
    job, _ = audited(audited_plan(), tmp_path / "b", hospitals(tmp_path / "b"))
    record = done(job)
    assert record.sites == ("s0", "s2", "s3")
    assert record.failures["s1"].startswith("what the silo sent are no counts of images by group: the groups by ")


@pytest.mark.parametrize("how", [{}, MASKED, {"private": True}, {"private": True, "secure": True}], ids=str)
@pytest.mark.parametrize("at", ["before it is durable", "after"])
def test_a_job_killed_at_its_audit_resumes_to_the_same_counts(
    how: dict[str, Any], at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, wire = audited(audited_plan(**how), tmp_path, nodes := hospitals(tmp_path))
    remember, known = job.journal.remember, []

    def die(key: str, value: object) -> None:
        if key == "audit/00002":
            known.append(value)
            if at == "after":
                remember(key, value)
            raise KeyboardInterrupt
        remember(key, value)

    monkeypatch.setattr(job.journal, "remember", die)
    with closing(job.journal), pytest.raises(KeyboardInterrupt):
        job.run()
    monkeypatch.undo()
    before = len(audit_answers_of(wire))
    assert before == 4
    events: list[Any] = []
    again = Job(job.plan, wire, tmp_path / "job", events.append, {}, job._members)
    record = done(again)
    (first,) = known
    for name in ("edges", "counts", "sites", "failures", "unsummed"):
        assert getattr(record, name) == getattr(first, name), name
    told = [event for event in events if isinstance(event, Audited)]
    assert [event.replayed for event in told] == [at == "after"]
    asked_again = len(audit_answers_of(wire)) - before
    assert asked_again == (4 if at != "after" and not job.plan.privacy.secure_aggregation else 0)
    if how.get("private"):
        for name in nodes:
            releases = [entry.release for entry in Ledger.open(tmp_path / f"state-{name}" / "ledger.jsonl").entries]
            assert releases.count(PURPOSE) == 1
    assert at == "after" or not list((tmp_path / "job").glob("pending-sum*"))


def audit_answers_of(wire: Wire) -> list[Any]:
    return [one for one in answers_of(wire, AuditCounts | MaskedScores) if one.address.purpose == PURPOSE]


# -------------------------------------------------------------------------------------------------------- what is made of it


@pytest.mark.parametrize("how", [{}, {"secure": True, "scores": "summed"}, {"private": True, "secure": True}], ids=str)
def test_the_report_has_the_audit_of_the_journal(how: dict[str, Any], tmp_path: Path) -> None:
    job, _ = audited(audited_plan(**how), tmp_path, hospitals(tmp_path))
    with closing(job.journal):
        job.run()
        record, report = job.audit(), build_report(summarise(job, facts(job)))
    assert record is not None
    entry = report["audit"]
    assert (entry["sites_in_sum"], entry["reason"]) == (list(SILOS), None)
    assert [one["name"] for one in entry["classes"]] == ["1"]
    everyone = entry["classes"][0]["groups"][0]
    counts, _ = job.audit_layout.split(np.array(record.counts))
    assert everyone["attribute"] == "all"
    assert everyone["n"] == (None if how.get("private") else counts[0, 0].sum())
    sites = [one["value"] for one in entry["classes"][0]["groups"] if one["attribute"] == "site"]
    assert sites == ([] if how.get("scores") == "summed" else list(SILOS))
    assert entry["fairness"]["verdict"] in ("pass", "fail", "insufficient")


def facts(job: Job) -> dict[str, Any]:
    digest = job.rounds()[-1].model_digest
    return {"network": "tiny", "n_parameters": 1, "digest": digest, "file": "m", "personal_parts": []}
