"""Each forgery an aggregator may try, built from a real job. It signs its own files anew: only what others signed stops it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from protocol.canonical import canonical_json, digest_bytes
from protocol.evidence import bundle as names
from protocol.evidence.bundle import release_path, sum_path
from protocol.evidence.checkpoint import lines_of
from protocol.evidence.keys import SiteKeys
from protocol.identity import Identity
from protocol.messages import MaskedScores, Request, Train, decode_release, encode
from protocol.vectors import from_wire, to_wire
from tests.evaluation.verify.jobs import OPEN, SILOS, Case, broken, case, words


def payload(line: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(json.loads(line)["payload"]))
    return found


@pytest.mark.parametrize("kind", ["open_job", "summed_job", "hidden_job"])
def test_what_nobody_touched_holds_and_says_what_it_is_worth(kind: str, request: pytest.FixtureRequest) -> None:
    job: Case = request.getfixturevalue(kind).copy()
    findings = job.verify(again=False)
    assert findings.sound, words(findings)
    assert {one.check for one in findings.found if one.state == "ok"} >= {
        "files", "plan", "roster", "receipts", "cosignatures", "models", "rounds", "report",
    }  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------- receipts


@pytest.mark.parametrize("signed_again", [False, True], ids=["as cosigned", "under a new root"])
@pytest.mark.parametrize("at", [0, 3, -1], ids=["first", "middle", "last"])
def test_a_dropped_receipt_is_found(open_job: Case, at: int, signed_again: bool) -> None:
    job = open_job.copy()
    lines = job.lines("s1")
    del lines[at]
    job.put_lines("s1", lines)
    if signed_again:
        job.root_again()
    findings = job.verify()
    assert ("receipts", "s1") in broken(findings) or {("cosignatures", silo) for silo in SILOS} <= broken(findings)


def test_an_altered_receipt_is_found(open_job: Case) -> None:
    job = open_job.copy()
    lines = job.lines("s2")
    envelope = json.loads(lines[2])
    body = payload(lines[2]) | {"commitment": "sha256:" + "0" * 64}
    lines[2] = canonical_json(envelope | {"payload": base64.b64encode(canonical_json(body)).decode()})
    job.put_lines("s2", lines)
    job.root_again()
    findings = job.verify()
    assert ("receipts", "s2") in broken(findings)
    assert "receipt 2 of s2: its signature is not one of the key of s2" in words(findings)


def test_reordered_receipts_are_found(open_job: Case) -> None:
    job = open_job.copy()
    lines = job.lines("s0")
    lines[1], lines[2] = lines[2], lines[1]
    job.put_lines("s0", lines)
    job.root_again()
    assert ("receipts", "s0") in broken(job.verify())


def test_a_receipt_that_stands_there_twice_is_found(open_job: Case) -> None:
    job = open_job.copy()
    lines = job.lines("s0")
    job.put_lines("s0", [*lines, lines[-1]])
    job.root_again()
    job.cosign_again()  # even if every silo signed it
    findings = job.verify()
    assert broken(findings) >= {("receipts", "s0")}
    assert "a second time" in words(findings)


def test_a_receipt_of_another_job_is_found(open_job: Case) -> None:
    other = case(OPEN, open_job.folder)  # the same hospitals with the same keys
    assert other.keys.sites == open_job.keys.sites
    job = open_job.copy()
    lines = job.lines("s3")
    lines[3] = other.lines("s3")[3]
    job.put_lines("s3", lines)
    job.root_again()
    job.cosign_again()
    findings = job.verify()
    assert ("receipts", "s3") in broken(findings)
    assert "of another job" in words(findings)


def test_a_forged_signature_is_found(open_job: Case, tmp_path: Path) -> None:
    from protocol.evidence.dsse import seal, unseal
    from protocol.evidence.receipt import TYPE, ReleaseReceipt

    job, forger = open_job.copy(), Identity.open(tmp_path / "forger.key")
    lines = job.lines("s1")
    honest = unseal(lines[-1], "s1", job.silos["s1"].public_key, TYPE, ReleaseReceipt)
    lines[-1] = seal(forger, "s1", TYPE, msgspec.structs.replace(honest, commitment="sha256:" + "1" * 64))
    job.put_lines("s1", lines)
    job.root_again()
    job.cosign_again()
    findings = job.verify()
    assert ("receipts", "s1") in broken(findings)
    assert "it was forged or changed" in words(findings)


def test_receipts_in_another_silos_file_are_found(open_job: Case) -> None:
    job = open_job.copy()
    one, other = f"{names.RECEIPTS}s0.jsonl", f"{names.RECEIPTS}s1.jsonl"
    job.files[one], job.files[other] = job.files[other], job.files[one]
    job.root_again()
    assert {("receipts", "s0"), ("receipts", "s1")} <= broken(job.verify())


# --------------------------------------------------------------------------------------------------------- what is left out


def test_a_dropped_site_is_found(open_job: Case) -> None:
    job = open_job.copy()
    del job.files[f"{names.RECEIPTS}s3.jsonl"]
    assert ("receipts", "s3") in broken(job.copy().verify())
    # The aggregator takes it out of everything: roster, rounds, scores.
    left = job.checkpoint
    job.change_checkpoint(
        roster=tuple(one for one in left.roster if one.name != "s3"),
        rounds=tuple(
            msgspec.structs.replace(
                one,
                trained=tuple(s for s in one.trained if s != "s3"),
                aggregated=tuple(s for s in one.aggregated if s != "s3"),
            )
            for one in left.rounds
        ),
    )
    job.root_again()
    signed = job.told(names.COSIGNATURES)
    del signed["signed"]["s3"]
    job.put(names.COSIGNATURES, signed)
    assert {("cosignatures", silo) for silo in ("s0", "s1", "s2")} <= broken(job.verify())


def test_a_site_that_is_said_to_be_gone_though_it_trained_is_missing(open_job: Case) -> None:
    job = open_job.copy()
    del job.files[f"{names.RECEIPTS}s3.jsonl"]
    job.root_again()
    job.change_checkpoint(absent={"s3": "timeout: no reply within 60 s"})
    signed = job.told(names.COSIGNATURES)
    del signed["signed"]["s3"]
    job.put(names.COSIGNATURES, signed)
    job.cosign_again("s0", "s1", "s2")
    findings = job.verify()
    assert ("receipts", "s3") in broken(findings)
    assert "it is in the model, but its receipts are not here: timeout" in words(findings)


def test_a_last_round_that_was_dropped_everywhere_is_found(open_job: Case) -> None:
    job = open_job.copy()
    last = max(one.round for one in job.checkpoint.rounds)
    for silo in SILOS:
        lines = job.lines(silo)
        job.put_lines(silo, lines[: next(i for i, line in enumerate(lines) if payload(line)["round"] == last)])
    job.change_checkpoint(rounds=job.checkpoint.rounds[:-1], model=job.checkpoint.rounds[-2].after)
    job.root_again()
    findings = job.verify()
    assert {("cosignatures", silo) for silo in SILOS} <= broken(findings)
    job.cosign_again()  # and were they all to sign it, the plan still has a round more
    assert ("models", names.AGGREGATOR) in broken(job.verify())


def test_scores_that_are_left_out_of_the_figures_are_found(open_job: Case) -> None:
    job = open_job.copy()
    course = job.told(names.COURSE)
    for scoring in course["scorings"]:
        if scoring["split"] == "test":
            del scoring["used"]["s2"]
    job.put(names.COURSE, course)
    findings = job.verify()
    assert {("rounds", "s2"), ("report", "report")} <= broken(findings)


# ------------------------------------------------------------------------------------------------------------------- models


def test_an_aggregator_that_shows_one_silo_another_model_gets_no_cosignature(tmp_path: Path) -> None:
    def change(silo: str, request: Request, data: bytes) -> bytes:
        if silo == "s1" and isinstance(request, Train) and request.address.round == 2:
            return encode(msgspec.structs.replace(request, model=to_wire(from_wire(request.model) * np.float32(0.5))))
        return data

    job = case(OPEN, tmp_path, change)
    assert "another model in round 2" in job.told(names.COSIGNATURES)["failures"]["s1"]
    findings = job.verify(again=False)
    assert {("cosignatures", "s1"), ("models", "s1")} <= broken(findings)
    job.cosign_again("s1")  # found even if the silo had not looked
    found = broken(job.verify())
    assert ("models", "s1") in found
    assert ("cosignatures", "s1") not in found


def test_a_final_model_that_nobody_scored_is_found(open_job: Case) -> None:
    job = open_job.copy()
    job.change_checkpoint(model="sha256:" + "2" * 64)
    job.cosign_again()
    assert {("models", silo) for silo in SILOS} <= broken(job.verify())


# ------------------------------------------------------------------------------------------------------- what the report says


def test_a_changed_figure_of_the_report_is_found_at_its_place(open_job: Case) -> None:
    def change(report: dict[str, Any]) -> None:
        site = next(one for one in report["sites"] if one["auroc"]["value"] is not None)
        site["auroc"]["value"] = round(site["auroc"]["value"] / 2, 6)
        changed.append(site["id"])

    job, changed = open_job.copy(), list[str]()
    job.put_report(change)
    assert broken(job.copy().verify(again=False)) >= {("report", "report"), ("report", changed[0])}
    findings = job.verify()
    assert broken(findings) == {("report", changed[0])}
    assert "auroc.value is" in words(findings)


def test_every_figure_of_the_report_is_held_against_the_evidence(summed_job: Case) -> None:
    def numbers(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        inner = [one for key, child in items for one in numbers(child, (*path, key))]
        return [path] if isinstance(value, int | float) and not isinstance(value, bool) else inner

    whole = json.loads(summed_job.report)
    own_word = {("model", "n_parameters")}
    paths = [path for path in numbers(whole) if path not in own_word]
    assert len(paths) > 300
    for path in paths[:: len(paths) // 25]:
        job = summed_job.copy()

        def change(report: dict[str, Any], path: tuple[Any, ...] = path) -> None:
            *parents, last = path
            for key in parents:
                report = report[key]
            report[last] = report[last] + 1

        job.put_report(change)
        assert not job.verify().sound, path


def test_a_changed_epsilon_is_found_in_the_report_and_with_the_restricted_files_gone(hidden_job: Case) -> None:
    for place in ("privacy", "rounds"):
        job = hidden_job.copy()

        def change(report: dict[str, Any], place: str = place) -> None:
            if place == "privacy":
                report["privacy"]["epsilon"] /= 2
            else:
                report["rounds"][-1]["epsilon"] /= 2

        job.put_report(change)
        assert ("report", "report") in broken(job.copy().verify())
        job.files = {path: data for path, data in job.files.items() if not path.startswith(names.RESTRICTED)}
        assert ("report", "report") in broken(job.verify())


def test_a_changed_plan_is_found_in_the_report_and_in_the_bundle(open_job: Case) -> None:
    def change(report: dict[str, Any]) -> None:
        report["plan"]["content"]["training"]["mu"] = 5.0

    job = open_job.copy()
    job.put_report(change)
    assert broken(job.verify()) == {("report", "report")}
    job = open_job.copy()
    plan = job.told(names.PLAN)
    plan["training"]["mu"] = 5.0
    job.put(names.PLAN, plan)
    assert ("plan", names.AGGREGATOR) in broken(job.verify())


def test_a_release_that_was_exchanged_for_a_better_one_is_found(open_job: Case) -> None:
    job = open_job.copy()
    course = job.told(names.COURSE)
    scoring = next(one for one in course["scorings"] if (one["kind"], one["split"]) == ("federated", "test"))
    old = scoring["used"]["s1"]
    release = decode_release(job.files[release_path(old)])
    better = encode(msgspec.structs.replace(release, accuracy=1.0))
    scoring["used"]["s1"] = digest_bytes(better)
    job.files[release_path(digest_bytes(better))] = better
    job.put(names.COURSE, course)
    assert ("rounds", "s1") in broken(job.copy().verify())
    job = open_job.copy()
    job.files[release_path(old)] = better  # under the name of the honest one
    findings = job.verify()
    assert "a release of s1 was changed" in words(findings)


# --------------------------------------------------------------------------------------------------------------------- sums


@pytest.mark.parametrize("purpose", ["scores-federated-test", "audit-federated-test"])
def test_a_masked_vector_that_was_altered_is_found(summed_job: Case, purpose: str) -> None:
    job = summed_job.copy()
    path = sum_path(f"{purpose}-3")
    evidence = job.told(path)
    old = evidence["masked"]["s2"]
    release = decode_release(job.files[release_path(old)])
    assert isinstance(release, MaskedScores)
    vector = np.frombuffer(release.masked, dtype="<u4").copy()
    vector[0] += 1
    altered = encode(msgspec.structs.replace(release, masked=vector.view(np.uint8).data))
    job.files[release_path(old)] = altered
    assert "a release of s2 was changed" in words(job.copy().verify())
    evidence["masked"]["s2"] = digest_bytes(altered)
    job.files[release_path(digest_bytes(altered))] = altered
    job.put(path, evidence)
    findings = job.verify()
    assert "s2 signed no receipt" in words(findings)


def test_a_silo_that_is_taken_out_of_a_sum_is_found(summed_job: Case) -> None:
    job = summed_job.copy()
    path = sum_path("scores-federated-test-3")
    evidence = job.told(path)
    del evidence["masked"]["s0"]
    job.put(path, evidence)
    assert ("report", "report") in broken(job.verify())


def test_edges_of_the_audit_that_were_chosen_otherwise_are_found(open_job: Case) -> None:
    job = open_job.copy()
    course = job.told(names.COURSE)
    course["audit"]["edges"][0][3] += 0.01
    job.put(names.COURSE, course)
    assert "edges are not those that follow" in words(job.verify())


# ------------------------------------------------------------------------------------------------------------------- keys


def test_another_consortiums_keys_fit_nothing(open_job: Case, summed_job: Case) -> None:
    findings = open_job.copy().verify(again=False, keys=summed_job.keys)
    assert {("receipts", silo) for silo in SILOS} | {("cosignatures", silo) for silo in SILOS} <= broken(findings)


def test_a_bundle_signed_throughout_by_keys_of_the_forgers_own_is_found_with_the_true_keys(
    open_job: Case, tmp_path: Path
) -> None:
    from protocol.evidence.dsse import seal, unseal
    from protocol.evidence.receipt import TYPE, ReleaseReceipt

    job = open_job.copy()
    own = {silo: Identity.open(tmp_path / silo) for silo in SILOS}
    for silo in SILOS:
        forged: list[bytes] = []
        for line in job.lines(silo):
            receipt = unseal(line, silo, job.silos[silo].public_key, TYPE, ReleaseReceipt)
            previous = digest_bytes(forged[-1]) if forged else ""
            forged.append(seal(own[silo], silo, TYPE, msgspec.structs.replace(receipt, previous=previous)))
        job.put_lines(silo, forged)
    roster = tuple(msgspec.structs.replace(one, public_key=own[one.name].public_key.hex()) for one in job.checkpoint.roster)
    job.change_checkpoint(roster=roster)
    job.root_again()
    job.silos = own
    job.cosign_again()
    swapped = SiteKeys(job.keys.aggregator, {silo: one.public_key.hex() for silo, one in own.items()})
    job.files[names.KEYS] = swapped.to_bytes()
    checks = {check for check, _ in broken(job.copy().verify(keys=swapped))}
    assert "receipts" not in checks
    assert "cosignatures" not in checks  # with the keys from the bundle it would pass: they must come by another way
    findings = job.verify()
    assert {(check, silo) for check in ("roster", "receipts", "cosignatures") for silo in SILOS} <= broken(findings)


def test_a_cosignature_under_another_checkpoint_is_found(open_job: Case) -> None:
    other = case(OPEN, open_job.folder)
    job = open_job.copy()
    job.files[names.COSIGNATURES] = other.files[names.COSIGNATURES]
    findings = job.verify()
    assert {("cosignatures", silo) for silo in SILOS} <= broken(findings)
    assert "it is under another checkpoint" in words(findings)


def test_a_cosignature_in_another_silos_name_is_found(open_job: Case) -> None:
    job = open_job.copy()
    signed = job.told(names.COSIGNATURES)
    signed["signed"]["s0"] = signed["signed"]["s1"]
    job.put(names.COSIGNATURES, signed)
    assert broken(job.verify()) == {("cosignatures", "s0")}


# --------------------------------------------------------------------------------------------------------------------- files


def test_without_the_restricted_files_the_rest_holds_and_says_what_was_not_checked(summed_job: Case) -> None:
    job = summed_job.copy()
    job.files = {path: data for path, data in job.files.items() if not path.startswith(names.RESTRICTED)}
    findings = job.verify(again=False)
    assert findings.sound, words(findings)
    assert "restricted/ is not here" in words(findings)


def test_a_file_that_does_not_belong_there_or_was_left_out_is_named(open_job: Case) -> None:
    job = open_job.copy()
    job.files["note.txt"] = b"trust me"
    assert "note.txt does not belong" in words(job.verify(again=False))
    for path in (names.COURSE, names.COSIGNATURES, names.PLAN, names.CHECKPOINT, names.INDEX, names.README):
        job = open_job.copy()
        del job.files[path]
        findings = job.verify(again=False)
        assert not findings.sound, path


def test_lines_without_an_end_are_refused() -> None:
    from protocol.errors import EvidenceError

    with pytest.raises(EvidenceError, match="was cut"):
        lines_of(b"{}\n{}")
