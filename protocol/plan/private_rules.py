"""What differential privacy rules out: settings under which something would leave a hospital that no noise covers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.plan.model import Plan


def conflicts(plan: Plan) -> list[str]:
    """Every setting of `plan` that its privacy mechanism cannot carry, each with what to write instead."""
    if plan.privacy.mechanism == "none":
        return []
    training, loss, federation, evaluation = plan.training, plan.training.loss, plan.federation, plan.evaluation
    rules = [
        (training.sampling != "shuffle", "training.sampling: balanced draws by the hospital's labels; leave it out"),
        (training.clip_grad_norm is not None, "training.clip_grad_norm: use privacy.clip_norm, which bounds every patient"),
        (loss.class_weights == "balanced", "training.loss.class_weights: balanced comes from the data; give public numbers"),
        (loss.prior_adjustment > 0, "training.loss.prior_adjustment: the class frequencies come from the data; set it to 0"),
        (federation.weighting != "uniform", f"federation.weighting: {federation.weighting} sends counts; set it to uniform"),
        (evaluation.alone, "evaluation.alone: scores of a model trained without noise would leave; set it to false"),
        (evaluation.personalise != "none", "evaluation.personalise: such a model is trained without noise; set it to none"),
    ]
    return [f"{text} (privacy.mechanism is {plan.privacy.mechanism})" for broken, text in rules if broken]
