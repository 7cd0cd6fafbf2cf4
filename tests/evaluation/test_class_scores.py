"""What a silo's own rows become before they may leave."""

from __future__ import annotations

import subprocess
import sys

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
