"""The report's list of what left a hospital: complete, for every field of every message a silo can send."""

from __future__ import annotations

from typing import get_args

from evaluation.report.privacy import LEAVES, privacy_entry
from protocol.messages import Address, ClassScores, Release
from silo_node.answers import SHARED_BY

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
    "delta": "model change",
}
PARTS = {"address", "classes"}  # structs of their own, whose fields are listed


def test_every_field_that_can_leave_a_hospital_is_named():
    fields = {name for struct in (*get_args(Release), Address, ClassScores) for name in struct.__struct_fields__}
    assert fields - PARTS == set(NAMED_AS)
    entry = privacy_entry({"mechanism": "none", "secure_aggregation": False})
    (said,) = (one for one in entry["does_not_protect"] if all(part in one for part in LEAVES))
    assert [name for name, words in NAMED_AS.items() if words not in said] == []


def test_the_limit_for_scanners_is_the_one_the_silo_keeps():
    assert SHARED_BY == 10
    assert any("scanners that at least ten of its patients share" in one for one in LEAVES)
