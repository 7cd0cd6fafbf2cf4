"""Whole jobs whose scores leave in sums alone: what the sum is, who may drop out, and what the aggregator gets to see."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.events import Scored
from aggregator.guard import judge
from aggregator.job import Job
from aggregator.records import ScoresRecord
from aggregator.summary import summarise
from aggregator.tracking.names import of_scores
from evaluation.federated import pooled
from evaluation.measure import pooled_classes
from evaluation.noisy_histograms import N_BINS, noise_variance
from evaluation.report.build import build_report
from evaluation.summed import ExactSum, NoisedSum, vector_size
from privacy.ledger import Ledger
from protocol.errors import JournalError, PlanError
from protocol.messages import Cosign, MaskedScores, PrivateScores, Request, Scores, decode_release
from protocol.plan import Plan
from protocol.plan.aggregation import Guard
from protocol.plan.load import parse_plan
from tests.aggregator.test_secure_rounds import PRIVATE_SECURE, SECURE, Wire, make
from tests.conftest import tiny_plan

SILOS = ("s0", "s1", "s2", "s3")
Lose = Callable[[str, Request], bool]


def plan_of(scores: str = "summed", *, private: bool = False, **changes: Any) -> Plan:
    evaluation = {"alone": False, "scores": scores, "every": 2, **changes.pop("evaluation", {})}
    return tiny_plan(**{**(PRIVATE_SECURE if private else SECURE), "evaluation": evaluation, **changes})


def done(job: Job) -> dict[tuple[int, str, str], ScoresRecord]:
    with closing(job.journal):
        job.run()
        return {(one.round, one.kind, one.split): one for one in job.scores()}


def losing(silos: tuple[str, ...], phase: str, split: str = "test", times: int = 99) -> Lose:
    left = dict.fromkeys(silos, times)

    def lose(silo: str, request: Request) -> bool:
        wanted = type(request).__name__ == phase and request.address.purpose == f"scores/federated/{split}"
        if not wanted or not left.get(silo):
            return False
        left[silo] -= 1
        return True

    return lose


# ---------------------------------------------------------------------------------------------------------------- the sum


def test_the_sum_gives_the_very_figures_that_single_scores_would_have_given(tmp_path: Path) -> None:
    evaluation = {"alone": True, "personalise": "fine_tune"}
    single = done(make(plan_of("per_site", evaluation=evaluation), tmp_path / "single")[0])
    summed = done(make(plan_of(evaluation=evaluation), tmp_path / "summed")[0])
    assert list(summed) == list(single)
    assert {kind for _, kind, split in summed if split == "test"} == {"federated", "alone", "personalised"}
    for key, record in summed.items():
        sites = list(single[key].scores.values())
        assert isinstance(record.summed, ExactSum)
        assert (record.scores, record.survivors, record.failures, record.unsummed) == ({}, SILOS, {}, None)
        assert pooled([record.summed]) == pooled(sites)
        assert record.summed.n == sum(site.n for site in sites)
        assert record.summed.n_right == round(sum(site.accuracy * site.n for site in sites))


def test_three_classes_are_summed_each_against_the_rest(tmp_path: Path) -> None:
    classes = {"task.classes": ["0", "1", "2"], "network": _wider(3)}
    single = done(make(plan_of("per_site", **classes), tmp_path / "single")[0])
    summed = done(make(plan_of(**classes), tmp_path / "summed")[0])
    for key, record in summed.items():
        assert record.summed is not None
        assert len(record.summed.classes) == 3
        assert pooled_classes([record.summed]) == pooled_classes(list(single[key].scores.values()))


def _wider(classes: int) -> dict[str, Any]:
    from tests.conftest import TINY

    return {"name": "Classifier", "args": {**TINY["network"]["args"], "classes": classes}}


def test_no_score_of_a_single_hospital_reaches_the_aggregator(tmp_path: Path) -> None:
    plan = plan_of()
    job, wire = make(plan, tmp_path)
    records = done(job)
    releases = [decode_release(reply) for _, reply in wire.seen]
    assert not [one for one in releases if isinstance(one, Scores | PrivateScores)]
    masked = [one for one in releases if isinstance(one, MaskedScores)]
    assert len(masked) == 4 * len(records)
    assert MaskedScores.__struct_fields__ == ("address", "masked", "receipt")
    assert {len(one.masked) for one in masked} == {4 * vector_size(plan)}
    # Most counts of a histogram are zero; under the mask every bit of every one of them is a coin toss.
    values = np.concatenate([np.frombuffer(one.masked, dtype=np.uint32) for one in masked])
    ones = np.array([np.mean(values >> bit & 1) for bit in range(32)])
    assert np.abs(ones - 0.5).max() < 6 * 0.5 / np.sqrt(values.size)


def test_a_hospital_without_patients_in_the_part_is_asked_and_adds_zeros(tmp_path: Path) -> None:
    changes = {"data.split": {"test_fraction": 0.3, "validation_fraction": 0.05}}
    job, wire = make(plan_of(**changes), tmp_path)
    records = done(job)
    with_some = [silo for silo, one in _descriptions(wire).items() if one.n_validation]
    assert 0 < len(with_some) < 4  # else this test says nothing
    record = records[(2, "federated", "validation")]
    assert record.survivors == SILOS
    assert isinstance(record.summed, ExactSum)
    assert record.summed.n == sum(one.n_validation for one in _descriptions(wire).values())


def _descriptions(wire: Wire) -> dict[str, Any]:
    found = {silo: decode_release(reply) for silo, reply in wire.seen}
    described = {silo: one for silo, reply in wire.seen if type(one := decode_release(reply)).__name__ == "Description"}
    assert set(found) == set(described)
    return described


# --------------------------------------------------------------------------------------------------------------- dropouts


@pytest.mark.parametrize(
    ("phase", "name"),
    [
        ("Advertise", "keys"),
        ("ShareSecrets", "shares"),
        ("Deliver", "delivery"),
        ("ScoreMasked", "scoring"),
        ("AskVouch", "vouches"),
        ("Reveal", "unmasking"),
    ],
)
def test_one_of_four_may_fall_silent_in_any_phase_and_the_record_says_who_is_in_the_sum(
    phase: str, name: str, tmp_path: Path
) -> None:
    single = done(make(plan_of("per_site"), tmp_path / "single")[0])[(3, "federated", "test")]
    record = done(make(plan_of(), tmp_path / "summed", lose=losing(("s2",), phase))[0])[(3, "federated", "test")]
    late = phase in ("AskVouch", "Reveal")  # its counts were in the sum already
    assert record.survivors == (SILOS if late else ("s0", "s1", "s3"))
    assert record.failures["s2"].startswith(f"{name}: timeout")
    assert record.summed is not None
    assert pooled([record.summed]) == pooled([single.scores[silo] for silo in record.survivors])


def test_below_the_threshold_there_is_no_sum_the_reasons_are_kept_and_the_job_ends_well(tmp_path: Path) -> None:
    job, wire = make(plan_of(), tmp_path, lose=losing(("s1", "s2"), "ScoreMasked"))
    with closing(job.journal):
        job.run()
        record = {(one.round, one.split): one for one in job.scores()}[(3, "test")]
        report = build_report(summarise(job, _facts(job)))
    assert (record.summed, record.scores, record.survivors) == (None, {}, ())
    assert record.unsummed is not None
    assert record.unsummed.startswith("AggregationError: 2 masked vectors arrived, 3 are needed")
    assert {silo: reason.split(";")[0] for silo, reason in record.failures.items()} == dict.fromkeys(
        ("s1", "s2"), "scoring: timeout: lost"
    )
    opened = [decode_release(reply) for _, reply in wire.seen if type(decode_release(reply)).__name__ == "Revealed"]
    assert not [one for one in opened if one.address.purpose.endswith("test")]
    assert report["performance"]["global"]["auroc"]["value"] is None
    assert report["performance"]["sums"][0]["reason"] == record.unsummed


@pytest.mark.parametrize("phase", ["Advertise", "ShareSecrets", "Deliver", "ScoreMasked", "AskVouch", "Reveal"])
@pytest.mark.parametrize("private", [False, True], ids=["open", "private"])
def test_what_failed_once_is_tried_again_and_gives_the_same_sum(phase: str, private: bool, tmp_path: Path) -> None:
    """Three hospitals all must stay: a single lost message must not cost the figure of the whole job."""
    job, _ = make(plan_of(private=private), tmp_path, n=3, lose=losing(("s1",), phase, times=1))
    record = done(job)[(3, "federated", "test")]
    assert record.survivors == ("s0", "s1", "s2")
    assert record.summed is not None
    if private:
        for name in ("state0", "state1", "state2"):
            releases = [entry.release for entry in Ledger.open(tmp_path / name / "ledger.jsonl").entries]
            assert releases.count("scores/3/federated/test") == 1
    else:
        plain = done(make(plan_of("per_site"), tmp_path / "plain", n=3)[0])
        assert pooled([record.summed]) == pooled(list(plain[(3, "federated", "test")].scores.values()))


def test_counts_that_were_opened_for_some_are_not_put_into_another_sum(tmp_path: Path) -> None:
    """Some revealed and the rest fell silent for good: a second sum over others would be told from the first."""
    silent = losing(("s0", "s1"), "Reveal")

    def lose(silo: str, request: Request) -> bool:  # what a silo cosigned the end of is refused altogether
        return isinstance(request, Cosign) or silent(silo, request)

    job, before = make(plan_of(), tmp_path, lose=lose)
    record = done(job)[(3, "federated", "test")]
    assert record.summed is None
    from aggregator.secure.scores import SummedScoring
    from aggregator.steps import ScoreModel

    wire = Wire(before._inner._handlers)  # the same nodes, asked for a fresh attempt
    fresh = Job(job.plan, wire, tmp_path / "job", lambda _: None, {}, job._members)
    with closing(fresh.journal):
        step = ScoreModel(3, "federated", "test")
        later = SummedScoring(fresh._desk, step, fresh.journal, fresh._members).run(SILOS, fresh.models.to_score(step))
    assert later.summed is None
    refused = [silo for silo, reason in later.failures.items() if "not put into a second sum" in reason]
    assert set(refused) >= {"s2", "s3"}


# ------------------------------------------------------------------------------------------------------------ kill, resume


def test_a_complete_sum_is_opened_after_a_kill_and_no_second_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aggregator.secure.phases import Phases

    job, wire = make(plan_of(), tmp_path)
    opened = Phases.open

    def die(self: Phases, *args: Any) -> Any:
        if self.address.purpose == "scores/federated/test":
            raise KeyboardInterrupt
        return opened(self, *args)

    monkeypatch.setattr(Phases, "open", die)
    with closing(job.journal), pytest.raises(KeyboardInterrupt):
        job.run()
    monkeypatch.undo()
    before = len([1 for _, reply in wire.seen if isinstance(decode_release(reply), MaskedScores)])
    assert (tmp_path / "job" / "pending-sum-scores-federated-test.npy").exists()
    again = Job(job.plan, wire, tmp_path / "job", lambda _: None, {}, job._members)
    record = done(again)[(3, "federated", "test")]
    assert record.survivors == SILOS
    assert record.summed is not None
    assert len([1 for _, reply in wire.seen if isinstance(decode_release(reply), MaskedScores)]) == before
    assert not (tmp_path / "job" / "pending-sum-scores-federated-test.npy").exists()


def test_a_kept_sum_that_was_changed_on_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aggregator.secure.phases import Phases

    job, wire = make(plan_of(), tmp_path)
    opened = Phases.open

    def die(self: Phases, *args: Any) -> Any:
        if self.address.purpose != "update":
            raise KeyboardInterrupt
        return opened(self, *args)

    with monkeypatch.context() as patched, closing(job.journal):
        patched.setattr(Phases, "open", die)
        with pytest.raises(KeyboardInterrupt):
            job.run()
    (kept,) = (tmp_path / "job").glob("pending-sum*.npy")
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    again = Job(job.plan, wire, tmp_path / "job", lambda _: None, {}, job._members)
    with closing(again.journal), pytest.raises(JournalError, match="not the one that was kept"):
        again.run()


# ---------------------------------------------------------------------------------------------------------------- privacy


def test_private_counts_are_noised_charged_once_and_then_masked(tmp_path: Path) -> None:
    plan = plan_of(private=True)
    job, wire = make(plan, tmp_path)
    with closing(job.journal):
        job.run()
        records = {(one.round, one.split): one for one in job.scores()}
        receipts = {receipt.public_key: receipt.entries for receipt in job.history.receipts()}
    for record in records.values():
        assert isinstance(record.summed, NoisedSum)
        assert (record.summed.n_silos, record.summed.scale) == (4, 1 / 2.0)
        (measured,) = pooled_classes([record.summed])
        assert measured.noise is not None
        assert measured.noise.count_sd == pytest.approx(np.sqrt(N_BINS * 4 * noise_variance(0.5)))
        assert set(record.receipts) == set(SILOS)
    masked = [one for _, reply in wire.seen if isinstance(one := decode_release(reply), MaskedScores)]
    assert {len(one.masked) for one in masked} == {4 * 2 * N_BINS}
    for number in range(4):
        ledger = Ledger.open(tmp_path / f"state{number}" / "ledger.jsonl")
        scored = [entry.release for entry in ledger.entries if entry.release.startswith("scores/")]
        assert scored == [
            f"scores/{number}/federated/{split}" for number, split in ((2, "validation"), (3, "validation"), (3, "test"))
        ]
        assert len(ledger.entries) in receipts.values()


def test_the_noise_in_a_private_sum_has_the_variance_of_all_hospitals_together(tmp_path: Path) -> None:
    """The same hospitals many times, each time with fresh noise: without patients in the part the sum is noise alone."""
    changes = {"federation.rounds": 1, "data.split": {"test_fraction": 0.3, "validation_fraction": 0.0}}
    found = []
    for number in range(12):
        job, _ = make(plan_of(private=True, **changes), tmp_path / str(number), n=3)
        with closing(job.journal):
            job.run()
            for record in job.scores():
                if record.split == "validation":
                    assert isinstance(record.summed, NoisedSum)
                    found += [n for one in record.summed.classes for n in (*one.positive, *one.negative)]
    assert len(found) == 12 * 2 * N_BINS
    expected = 3 * noise_variance(0.5)
    # The fourth moment of a sum of three Laplace variables is at most 5 times its squared variance.
    assert np.var(found) == pytest.approx(expected, rel=4 * np.sqrt(4 / len(found)))


# --------------------------------------------------------------------------------------------------- what is made of a sum


def test_a_plan_that_sums_needs_secure_aggregation() -> None:
    text = tiny_plan().canonical.decode().replace('"scores":"per_site"', '"scores":"summed"')
    assert "summed" in text
    with pytest.raises(PlanError, match=r"evaluation\.scores: summed opens nothing but a masked sum"):
        parse_plan(text)


def _facts(job: Job) -> dict[str, Any]:
    digest = job.rounds()[-1].model_digest
    return {"network": "tiny", "n_parameters": 1, "digest": digest, "file": "m", "personal_parts": []}


@pytest.mark.parametrize("private", [False, True], ids=["open", "private"])
def test_mlflow_gets_the_whole_and_nothing_of_a_silo(private: bool, tmp_path: Path) -> None:
    changes = {} if not private else {"privacy": {**PRIVATE_SECURE["privacy"], "metrics_epsilon": 10.0}}
    events: list[Any] = []
    job, _ = make(plan_of(private=private, **changes), tmp_path)
    job._desk = job._desk.__class__(job._transport, job.plan, job.name, events.append)
    job._observe = events.append
    done(job)
    scored = [event.record for event in events if isinstance(event, Scored)]
    assert len(scored) == 3
    for record in scored:
        parent, silos = of_scores(record)
        split = {"validation": "val", "test": "test"}[record.split]
        assert silos == {}
        assert not [name for name in parent if name.startswith("site/")]
        assert record.summed is not None
        value = pooled([record.summed]).estimate().value if private else pooled([record.summed]).value
        assert parent.get(f"global/{split}/auroc") == parent.get(f"{split}/auroc") == value
        assert (f"global/{split}/accuracy" in parent) is not private


@pytest.mark.parametrize("private", [False, True], ids=["open", "private"])
def test_the_report_shows_the_sum_and_says_of_single_hospitals_that_they_were_not_measured(
    private: bool, tmp_path: Path
) -> None:
    from evaluation.report.render import render_html
    from tests.evaluation.test_report_page import text_of

    job, _ = make(plan_of(private=private), tmp_path)
    with closing(job.journal):
        job.run()
        report = build_report(summarise(job, _facts(job)))
    assert report["performance"]["global"]["n_sites"] == 4
    assert {site["auroc"]["why"] for site in report["sites"]} == {"only_sums"}
    assert report["performance"]["stratified"]["auroc"]["why"] == "only_sums"
    assert (report["performance"]["worst_site"], report["performance"]["spread"]) == (None, None)
    assert report["performance"]["sums"][0]["sites"] == list(SILOS)
    assert all(one["validation"] == {} for one in report["rounds"])
    assert report["rounds"][1]["validation_global"] is not None
    text = text_of(render_html(report))
    assert text.count("not measured: the plan lets only sums leave (evaluation.scores: summed)") >= 4 + 2
    for wrong in ("no hospital can be measured", "gave no score", "better than alone", "Each hospital computes it on its own"):
        assert wrong not in text


def summed_record(number: int, spread: float, survivors: tuple[str, ...] = SILOS) -> ScoresRecord:
    """A validation in which positives lie `spread` bins above negatives, of 400."""
    from evaluation.histograms import N_BINS as BINS
    from evaluation.summed import SummedClass

    rng = np.random.default_rng(number)
    negative = np.bincount(np.clip(rng.normal(200, 30, 200).astype(int), 0, BINS - 1), minlength=BINS)
    positive = np.bincount(np.clip(rng.normal(200 + spread, 30, 200).astype(int), 0, BINS - 1), minlength=BINS)
    total = ExactSum(400, 0, (SummedClass(tuple(positive.tolist()), tuple(negative.tolist())),))
    return ScoresRecord(number, "federated", "validation", 0.0, {}, {}, total, survivors)


def test_the_guard_judges_sums() -> None:
    guard = Guard(max_validation_drop=0.1)
    good = summed_record(1, 60.0)
    first = judge(guard, good, None)
    assert (first.auroc, first.rejected) == (pytest.approx(0.92, abs=0.05), None)
    assert judge(guard, summed_record(2, 58.0), good).rejected is None
    fallen = judge(guard, summed_record(2, 5.0), good)
    assert "validation AUROC fell" in (fallen.rejected or "")
    assert fallen.back_to == 1


def test_a_sum_that_did_not_come_about_is_judged_by_who_could_score_the_model() -> None:
    guard = Guard(max_validation_drop=0.1)
    good = summed_record(1, 60.0)

    def failed(*silos: str) -> ScoresRecord:
        reasons = dict.fromkeys(silos, "scoring: EvaluationError: not a number")
        return ScoresRecord(2, "federated", "validation", 0.0, {}, reasons, unsummed="AggregationError: too few")

    assert judge(guard, failed("s0", "s1"), good) == judge(guard, failed("s0"), good)
    assert judge(guard, failed("s0"), good).rejected is None
    assert judge(guard, failed("s0"), good).auroc is None
    assert "1 of the 4 silos" in (judge(guard, failed("s0", "s1", "s2"), good).rejected or "")


def test_a_job_with_a_guard_goes_back_on_the_word_of_a_sum(tmp_path: Path) -> None:
    changes = {"federation.guard": {"max_validation_drop": 0.0001, "max_rejected": 99}, "evaluation": {"every": 1}}
    changes |= {"training.optimizer": {"name": "SGD", "lr": 0.5}, "federation.rounds": 4}
    job, _ = make(plan_of(**changes), tmp_path)
    with closing(job.journal):
        job.run()
        verdicts, rounds = job.history.verdicts(), job.rounds()
        report = build_report(summarise(job, _facts(job)))
    assert len(verdicts) == 4
    rejected = {one.round for one in rounds if one.rejected}
    assert rejected == {one.round for one in verdicts if one.rejected}
    assert {one["round"] for one in report["rounds"] if one["rejected"]} == rejected
    assert rejected, "a plan that never rejects tests nothing"
