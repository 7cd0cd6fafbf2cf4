"""What a silo's own rows become before they may leave."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from evaluation.histograms import N_BINS, histogram
from evaluation.scoring import class_scores
from protocol.errors import EvaluationError


def rows(n: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels, logits = rng.integers(0, n_classes, n), rng.normal(size=(n, n_classes))
    logits[np.arange(n), labels] += 1.0
    return labels, logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def test_binary_task_scores_class_one_against_class_zero():
    labels, logs = rows(200, 2)
    (one,) = class_scores(labels, logs)
    assert (one.n_positive, one.n_negative) == ((labels == 1).sum(), (labels == 0).sum())
    assert one.auroc == pytest.approx(roc_auc_score(labels, logs[:, 1]))
    positive, negative = histogram(labels, logs[:, 1] - logs[:, 0])
    assert one.histogram_positive == tuple(positive)
    assert one.histogram_negative == tuple(negative)
    assert all(type(count) is int for count in one.histogram_positive)


def test_other_tasks_score_each_class_against_the_rest():
    labels, logs = rows(200, 4)
    scored = class_scores(labels, logs)
    for index, one in enumerate(scored):
        assert one.auroc == pytest.approx(roc_auc_score(labels == index, logs[:, index]))
    assert sum(one.n_positive for one in scored) == 200


def test_logits_do_as_well_as_log_probabilities():
    labels, logs = rows(50, 3)
    assert class_scores(labels, logs + 7.5) == class_scores(labels, logs)


def test_over_confident_scores_are_still_ranked():
    """Probabilities that round to 1 in float64 differ in their log-odds."""
    margin = np.array([40.0, 50.0, 60.0, 70.0])
    logs = np.stack([-margin, np.zeros(4), -margin - 5.0], axis=1)
    scored = class_scores(np.array([0, 2, 1, 1]), logs)[1]
    assert scored.auroc == 1.0


def test_absent_class_has_no_auroc_and_an_empty_split_no_cases():
    labels, logs = rows(20, 3)
    absent = class_scores(np.where(labels == 2, 0, labels), logs)[2]
    assert (absent.n_positive, absent.auroc, absent.auroc_variance) == (0, None, None)
    (empty,) = class_scores(np.zeros(0, int), np.zeros((0, 2)))
    assert (empty.n_positive, empty.n_negative, empty.auroc) == (0, 0, None)
    assert len(empty.histogram_positive) == N_BINS


@pytest.mark.parametrize(
    ("labels", "logs"),
    [
        ([0, 1], [[0.0], [0.0]]),
        ([0, 2], [[0.0, 0.0], [0.0, 0.0]]),
        ([-1, 0], [[0.0, 0.0], [0.0, 0.0]]),
        ([0.0, 1.0], [[0.0, 0.0], [0.0, 0.0]]),
        ([0], [[0.0, 0.0], [0.0, 0.0]]),
        ([0, 1], [[0.0, float("nan")], [0.0, 0.0]]),
        ([0, 1], [[-np.inf, -np.inf], [0.0, 0.0]]),
    ],
)
def test_unusable_rows_are_refused(labels, logs):
    with pytest.raises(EvaluationError):
        class_scores(np.array(labels), np.array(logs))


def test_silo_side_needs_no_plotting_and_no_templates():
    code = (
        "import sys, evaluation.scoring, evaluation.federated, evaluation.comparison, evaluation.report.inputs\n"
        "print(sorted({'matplotlib', 'jinja2', 'sklearn', 'torch', 'scipy.stats'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("n_classes", [2, 3])
def test_beside_the_site_s_own_model_each_class_has_its_covariance_and_nothing_else_changes(n_classes):
    labels, logs = rows(120, n_classes)
    own = logs + np.random.default_rng(9).normal(size=logs.shape) * 0.3
    together = class_scores(labels, logs, own)
    for one, alone in zip(together, class_scores(labels, own), strict=True):
        ratio = one.covariance_with_alone / np.sqrt(one.auroc_variance * alone.auroc_variance)
        assert 0.7 < ratio < 1.0
    assert [msgspec.structs.replace(one, covariance_with_alone=None) for one in together] == list(class_scores(labels, logs))


def test_covariance_with_oneself_is_the_variance():
    labels, logs = rows(120, 2)
    (one,) = class_scores(labels, logs, logs * 3.0)
    assert one.covariance_with_alone == one.auroc_variance


def test_where_the_own_model_diverged_or_a_class_is_absent_there_is_no_covariance_but_the_scores_stand():
    labels, logs = rows(60, 2)
    diverged = logs.copy()
    diverged[3, 1] = np.nan
    assert class_scores(labels, logs, diverged) == class_scores(labels, logs)
    (absent,) = class_scores(np.zeros_like(labels), logs, logs)
    assert (absent.auroc, absent.covariance_with_alone) == (None, None)


def test_own_model_scored_on_other_rows_is_refused():
    labels, logs = rows(60, 2)
    with pytest.raises(EvaluationError, match="same rows"):
        class_scores(labels, logs, logs[:-1])
