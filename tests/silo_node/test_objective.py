from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from protocol.plan.training import Loss, Schedule
from protocol.schedule import lr_factor
from silo_node.training.objective import Objective

CPU = torch.device("cpu")
LOGITS = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2])
COUNTS = np.array([8, 3, 1])


def test_the_plain_objective_is_cross_entropy() -> None:
    assert torch.equal(Objective(Loss(), COUNTS, CPU)(LOGITS, LABELS), functional.cross_entropy(LOGITS, LABELS))


def test_balanced_weights_are_scikit_learn_s() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    weights = compute_class_weight("balanced", classes=np.arange(3), y=LABELS.numpy())
    expected = functional.cross_entropy(LOGITS, LABELS, weight=torch.tensor(weights, dtype=torch.float32))
    torch.testing.assert_close(Objective(Loss(class_weights="balanced"), COUNTS, CPU)(LOGITS, LABELS), expected)


def test_prior_adjustment_adds_tau_log_prior_to_the_logits() -> None:
    prior = torch.tensor([9.0, 4.0, 2.0]) / 15.0
    expected = functional.cross_entropy(LOGITS + 2.0 * prior.log(), LABELS)
    torch.testing.assert_close(Objective(Loss(prior_adjustment=2.0), COUNTS, CPU)(LOGITS, LABELS), expected)


def test_a_class_the_hospital_does_not_have_keeps_the_loss_finite() -> None:
    for loss in (Loss(class_weights="balanced"), Loss(prior_adjustment=1.0)):
        value = Objective(loss, np.array([9, 3, 0]), CPU)(LOGITS[:11], LABELS[:11])
        assert torch.isfinite(value)


def test_the_learning_rate_follows_the_schedule() -> None:
    cosine = Schedule(name="cosine", final_factor=0.1)
    factors = [lr_factor(cosine, n, 10) for n in range(1, 11)]
    assert factors[0] == 1.0
    assert factors == sorted(factors, reverse=True)
    assert 0.1 < factors[-1] < 0.15
    assert lr_factor(Schedule(), 7, 10) == 1.0
    assert [lr_factor(Schedule(name="step", step_rounds=2, step_factor=0.5), n, 6) for n in (1, 2, 3, 5)] == [1, 1, 0.5, 0.25]
    assert lr_factor(Schedule(warmup_rounds=3), 1, 10) == 0.25
