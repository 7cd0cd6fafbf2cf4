"""The report's list of what left a hospital: complete, for every field of every message a silo can send."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from evaluation.report.privacy import AUDITED, AUDITED_MASKED, LEAVES, LEAVES_SUMMED, privacy_entry
from evaluation.report.privacy_local import PRIVATE_AUDITED, PRIVATE_LEAVES, PRIVATE_LEAVES_SUMMED
from evaluation.report.privacy_secure import SECURE_LEAVES
from protocol.errors import EvaluationError
from protocol.messages import (
    Address,
    Advertised,
    AuditCounts,
    ClassScores,
    Cosigned,
    Delivered,
    Description,
    Done,
    MaskedScores,
    MaskedUpdate,
    NoisyHistograms,
    PrivateDescription,
    PrivateScores,
    PrivateUpdate,
    Receipt,
    Receipts,
    Refusal,
    Release,
    Revealed,
    Scores,
    Shared,
    Update,
    Vouched,
)
from protocol.secure_aggregation import Advertisement, EncryptedShares, Share, Unmasking, Vouch, Where
from tests.evaluation.made_up_runs import GUARANTEE

EVIDENCE = (Receipts, Cosigned)  # at the end of a job of any kind
OPEN = (Description, Update, Scores, Done, Refusal)
PRIVATE = (PrivateDescription, PrivateUpdate, PrivateScores, Refusal)  # Done answers what a private plan cannot ask for

SECURE = (Advertised, Shared, Delivered, MaskedUpdate, MaskedScores, Vouched, Revealed)
AUDIT = (AuditCounts,)
INSIDE = (Advertisement, EncryptedShares, Vouch, Unmasking, Share, Where)

NAMED_AS = {
    "n_patients": "counts of its patients",
    "n_train": "images in each part",
    "n_validation": "images in each part",
    "n_test": "images in each part",
    "class_counts_train": "training images by class",
    "layout_digest": "the network's layout",
    "store_digest": "its cohort store",
    "modalities": "the modalities",
    "manufacturers": "makers of scanners",
    "n_positives": "the positive ones",
    "loss": "losses",
    "proximal": "proximal losses",
    "steps": "training steps",
    "work": "share of a round's steps",
    "seconds": "how long training and tuning took",
    "n": "test and validation images",
    "accuracy": "accuracy of each model",
    "kind": "each model",
    "split": "on validation and test images",
    "n_positive": "images by class",
    "n_negative": "images by class",
    "auroc": "AUROCs",
    "auroc_variance": "variances",
    "histogram_positive": "score histograms by class",
    "histogram_negative": "score histograms by class",
    "covariance_with_alone": "covariances with the hospital's own model",
    "error": "the name of the error",
    "reason": "a reason in words",
    "job": "the job",
    "plan_digest": "the plan's digest",
    "round": "the round",
    "attempt": "the attempt",
    "purpose": "the purpose",
    "delta": "model change",
    "weight": "the weight that follows from one",
    "called": "how many images of each class are called",
}
COUNTED = {"counts": "in each group, by class and by bin of the score"}
COUNTED_MASKED = {"counts": "in its own group, by class and by bin of the score"}
COUNTED_PRIVATE = {"counts": "counts of its test patients by group, class and bin of the score"}
NAMED_AS_PRIVATE = {
    "layout_digest": "digest of the network's layout",
    "cohort": "a random token",
    "entries": "the number of entries",
    "head": "the digest of the last",
    "public_key": "public key",
    "signature": "its signature",
    "kind": "the federated model",
    "split": "on validation and on test patients",
    "epsilon": "the epsilon they cost",
    "scale": "the scale of that noise",
    "positive": "histograms of its patients' scores by class",
    "negative": "histograms of its patients' scores by class",
} | {name: NAMED_AS[name] for name in ("error", "reason", "job", "plan_digest", "round", "attempt", "purpose", "delta")}
NAMED_AS_SECURE = {
    "where": "the attempt it belongs to",
    "manifest": "the digest of the manifest",
    "silo": "its name",
    "mask_key": "public keys for masks",
    "share_key": "for sealing shares",
    "seed_digest": "digest of its own mask's seed",
    "signature": "its signature",
    "sender": "named with sender",
    "receiver": "and receiver",
    "sealed": "sealed for one other hospital",
    "sharers": "a digest of those who shared",
    "survivors": "whose masked vectors are in a sum",
    "seeds": "the seeds of those in it",
    "keys": "the mask keys of those who dropped out",
    "value": "the shares that open that sum",
    "work": "share of a round's steps",
    "masked": "",  # the model change, or the counts, themselves
    "purpose": "the attempt it belongs to",
    "job": "the attempt it belongs to",
    "round": "the attempt it belongs to",
    "attempt": "the attempt it belongs to",
}
# Where scores leave only masked; the model change too, whose fields the reports of either kind of plan name all the same.
SUMMED = {"secure_aggregation": True, "scores": "summed"}
OPEN_SUMMED, PRIVATE_SUMMED = (Description, Update, Done, Refusal), (PrivateDescription, PrivateUpdate, Refusal)
OF_SCORES = set(Scores.__struct_fields__) | set(ClassScores.__struct_fields__)
NAMED_AS_SUMMED = {name: words for name, words in NAMED_AS.items() if name not in OF_SCORES or name == "loss"}
OF_NOISED = set(PrivateScores.__struct_fields__) | set(NoisyHistograms.__struct_fields__)
NAMED_AS_PRIVATE_SUMMED = {name: words for name, words in NAMED_AS_PRIVATE.items() if name not in OF_NOISED}
PARTS = {
    "address",
    "classes",
    "receipt",
    "advertisement",
    "boxes",
    "vouch",
    "unmasking",
}  # structs of their own, whose fields are listed


def test_a_release_is_of_a_private_plan_or_of_another():
    assert {*OPEN, *PRIVATE, *SECURE, *AUDIT, *EVIDENCE} == set(get_args(Release))


@pytest.mark.parametrize(
    ("releases", "parts", "named", "leaves", "settings"),
    [
        (OPEN, (Address, ClassScores), NAMED_AS, LEAVES, {"mechanism": "none", "secure_aggregation": False}),
        (PRIVATE, (Address, Receipt, NoisyHistograms), NAMED_AS_PRIVATE, PRIVATE_LEAVES, GUARANTEE),
        (OPEN_SUMMED, (Address,), NAMED_AS_SUMMED, LEAVES_SUMMED, {"mechanism": "none", **SUMMED}),
        (PRIVATE_SUMMED, (Address, Receipt), NAMED_AS_PRIVATE_SUMMED, PRIVATE_LEAVES_SUMMED, GUARANTEE | SUMMED),
        (
            (*OPEN, *AUDIT),
            (Address, ClassScores),
            NAMED_AS | COUNTED,
            LEAVES + AUDITED,
            {"mechanism": "none", "audit": True},
        ),
        (
            (*OPEN, *AUDIT),
            (Address, ClassScores),
            NAMED_AS | COUNTED_MASKED,
            LEAVES + AUDITED_MASKED,
            {"mechanism": "none", "audit": True, "secure_aggregation": True},
        ),
        (
            (*PRIVATE, *AUDIT),
            (Address, Receipt, NoisyHistograms),
            NAMED_AS_PRIVATE | COUNTED_PRIVATE,
            PRIVATE_LEAVES + PRIVATE_AUDITED,
            GUARANTEE | {"audit": True},
        ),
        (SECURE, INSIDE, NAMED_AS_SECURE, SECURE_LEAVES, GUARANTEE | {"secure_aggregation": True}),
    ],
)
def test_every_field_that_can_leave_a_hospital_is_named(
    releases: tuple[Any, ...], parts: tuple[Any, ...], named: dict[str, str], leaves: tuple[str, ...], settings: dict[str, Any]
):
    fields = {name for struct in (*releases, *parts) for name in struct.__struct_fields__}
    assert fields - PARTS == set(named)
    entry = privacy_entry(settings)
    (said,) = (one for one in entry["does_not_protect"] if all(part in one for part in leaves))
    assert [name for name, words in named.items() if words not in said] == []


def test_what_a_hospital_signs_about_its_messages_is_named_whatever_the_plan():
    named = {
        "public_key": "with its public key",
        "lines": "the receipts of its messages",
        "cosignature": "its signature under the job's checkpoint",
    }
    assert {name for struct in EVIDENCE for name in struct.__struct_fields__} - PARTS == set(named)
    for settings in ({"mechanism": "none"}, GUARANTEE, {"mechanism": "none", **SUMMED}, GUARANTEE | SUMMED):
        said = " ".join(privacy_entry(settings)["does_not_protect"])
        assert [name for name, words in named.items() if words not in said] == []


def test_the_promise_says_to_whom_against_whom_and_for_how_long():
    entry = privacy_entry(GUARANTEE)
    assert entry["statement"] == "epsilon 8 at delta 1e-06 for each patient"
    assert (entry["epsilon"], entry["delta"], entry["loud"], entry["warning"]) == (8.0, 1e-6, False, "")
    promised, excluded = " ".join(entry["protects"]), " ".join(entry["does_not_protect"])
    for words in ("all images of that patient together", "e^epsilon = 2,981", "whole run, not a round", "even if they collude"):
        assert words in promised
    for words in (
        "Secure aggregation was off",
        "takes part",
        "own staff",
        "more than one hospital",
        "a group",
        "not in the data",
    ):
        assert words in excluded


def test_secure_aggregation_is_never_called_differential_privacy():
    for settings in (GUARANTEE, {"mechanism": "none", "secure_aggregation": False}):
        entry = privacy_entry(settings)
        for one in (*entry["protects"], *entry["does_not_protect"], entry["statement"]):
            assert not re.search(r"secure aggregation (makes|gives|is|provides)", one, flags=re.IGNORECASE)


def test_with_secure_aggregation_the_page_no_longer_says_that_updates_could_be_read_alone():
    for settings in (GUARANTEE, {"mechanism": "none"}):
        entry = privacy_entry(settings | {"secure_aggregation": True})
        assert entry["secure_aggregation"] is True
        assert "Secure aggregation was off" not in " ".join(entry["does_not_protect"])
        assert "no single one" in " ".join(entry["protects"])
        assert "does not" not in entry["statement"]
        assert entry["statement"] == privacy_entry(settings)["statement"]


def test_a_report_of_sums_says_who_could_not_read_scores_and_what_two_sums_may_tell():
    for settings in (GUARANTEE, {"mechanism": "none"}):
        entry = privacy_entry(settings | SUMMED)
        assert "Scores left masked too" in " ".join(entry["protects"])
        excluded = " ".join(entry["does_not_protect"])
        assert "the difference of the two sums" in excluded
        assert not re.search(r"AUROCs with their variances|histograms of its patients' scores", excluded)
        assert "Scores left masked too" not in " ".join(privacy_entry(settings | {"secure_aggregation": True})["protects"])
    with pytest.raises(EvaluationError, match="secure_aggregation"):
        privacy_entry({"mechanism": "none", "secure_aggregation": False, "scores": "summed"})


def test_where_only_sums_are_opened_no_count_of_the_audit_is_said_to_have_left_a_hospital():
    for settings in (GUARANTEE, {"mechanism": "none"}):
        assert privacy_entry(settings | SUMMED | {"audit": True}) == privacy_entry(settings | SUMMED)


def test_an_epsilon_above_eight_is_said_loudly():
    parts = {"train": 12.0, "validation": 1.0, "test": 0.3}
    entry = privacy_entry(GUARANTEE | {"epsilon": 12.0, "epsilon_by_part": parts})
    assert entry["loud"] is True
    assert "above 8" in entry["warning"]


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": None},
        {"epsilon": float("inf")},
        {"epsilon": 1.0},
        {"delta": 0.0},
        {"steps": 1.5},
        {"batch_patients": None},
        {"sampling_rate": 1.2},
        {"epsilon_by_part": {"train": 8.0}},
        {"secure_aggregation": "yes"},
        {"mechanism": "central"},
    ],
)
def test_a_promise_that_cannot_be_stated_is_refused(changes: dict[str, Any]):
    with pytest.raises(EvaluationError):
        privacy_entry(GUARANTEE | changes)


def test_the_limit_for_scanners_is_the_one_the_silo_keeps():
    from silo_node.answers import SHARED_BY

    assert SHARED_BY == 10
    assert any("scanners that at least ten of its patients share" in one for one in LEAVES)
