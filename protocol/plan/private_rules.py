"""What the parts of a plan rule out in each other.

Differential privacy: settings under which something would leave a hospital that no noise covers. Secure aggregation: settings
that must read single updates. The guard: a validation it could never compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.plan.federation import Federation, needs_single_updates

if TYPE_CHECKING:
    from protocol.plan.model import Plan


def conflicts(plan: Plan) -> list[str]:
    """Every setting of `plan` that another one rules out, each with what to write instead."""
    secure = bool(getattr(plan.privacy, "secure_aggregation", False))  # absent: this mechanism has none
    return (
        _private(plan)
        + unreadable(plan.federation, secure=secure)
        + _masked_whole(plan.federation, secure=secure)
        + _unguarded(plan)
        + _unweighed(plan)
        + _unsummed(plan, secure=secure)
        + _untested(plan)
        + _unpaired(plan)
        + _unfitted(plan)
    )


def unreadable(federation: Federation, *, secure: bool) -> list[str]:
    """Every key that needs updates which secure aggregation hides; none without it."""
    text = "must read single updates, which secure aggregation hides; leave it out, or set privacy.secure_aggregation to false"
    return [f"{key} {text}" for key in needs_single_updates(federation)] if secure else []


def _masked_whole(federation: Federation, *, secure: bool) -> list[str]:
    """Masked vectors are summed as they are: a sum of what was compressed apart is none."""
    if not secure or federation.compression.name == "none":
        return []
    return [
        f"federation.compression: under secure aggregation updates cannot be {federation.compression.name}; leave it out and "
        "set privacy.width_bits to 16, or set privacy.secure_aggregation to false"
    ]


def _unsummed(plan: Plan, *, secure: bool) -> list[str]:
    """Counts are added up under masks, or they leave singly."""
    if plan.evaluation.scores == "per_site" or secure:
        return []
    return [
        "evaluation.scores: summed opens nothing but a masked sum of the hospitals' counts; set privacy.secure_aggregation to "
        "true, or scores to per_site"
    ]


def _untested(plan: Plan) -> list[str]:
    """An audit breaks down a test."""
    split = plan.data.split
    if plan.evaluation.audit is None or split.use_fold_column or split.test_fraction > 0:
        return []
    return ["evaluation.audit: no patient is tested; raise data.split.test_fraction, or leave evaluation.audit out"]


def _unpaired(plan: Plan) -> list[str]:
    """A model to compare with is a file that is whole, and what pairs the two is a table that noise drowns.

    Measured (`benchmarks/evaluation.py --only paired_under_noise`; epsilon 3, two models that correlate by 0.9): the interval
    from a noised table of both scores was longer than the one that takes the two as independent up to 5,000 test patients
    (0.045 against 0.035), and every other figure would carry three times the noise; from about 20,000 on it was shorter.
    """
    audit = plan.evaluation.audit
    if audit is None or audit.compare_with is None:
        return []
    key, lines = "evaluation.audit.compare_with", []
    if plan.privacy.mechanism != "none":
        lines.append(
            f"{key}: under privacy noise drowns what the two models have in common; leave it out, and compare the two jobs "
            "with `fedward audit compare`, as if they were tested on different patients"
        )
    if plan.federation.personal:
        lines.append(
            f"{key}: with federation.personal parts of a hospital's model are in no file, so there is no other model of the "
            "same network; leave one of the two out"
        )
    return lines


def _unfitted(plan: Plan) -> list[str]:
    """What a hospital fits at home needs validation patients; what it counts singly is not for a sum."""
    evaluation, split = plan.evaluation, plan.data.split
    fitted = {"recalibrate": evaluation.recalibrate != "none", "site_threshold": evaluation.site_threshold is not None}
    lines = [
        f"evaluation.{key}: nobody is validated, so there is nothing to fit it on; raise data.split.validation_fraction"
        for key, wanted in fitted.items()
        if wanted and not split.use_fold_column and split.validation_fraction <= 0
    ]
    if evaluation.site_threshold is not None and evaluation.scores == "summed":
        lines.append("evaluation.site_threshold: who is called is counted at each hospital; set evaluation.scores to per_site")
    return lines


def _unguarded(plan: Plan) -> list[str]:
    """A guard that compares validations needs two of them."""
    every, rounds = plan.evaluation.every, plan.federation.rounds
    if plan.federation.guard.max_validation_drop is None or every < rounds:
        return []
    return [
        f"federation.guard.max_validation_drop: with evaluation.every {every} of {rounds} rounds there is nothing to compare "
        "with; validate more often, or leave it out"
    ]


def _unweighed(plan: Plan) -> list[str]:
    """Weights that follow validations need each hospital's own, at least one before the last round."""
    split, every, rounds = plan.data.split, plan.evaluation.every, plan.federation.rounds
    if plan.federation.weighting != "worst_site":
        return []
    rules = [
        (plan.evaluation.scores == "summed", "a sum does not say who is worst; set evaluation.scores to per_site"),
        (every >= rounds, f"with evaluation.every {every} of {rounds} rounds no weight would ever move; validate more often"),
        (
            not split.use_fold_column and split.validation_fraction <= 0,
            "nobody is validated; raise data.split.validation_fraction",
        ),
    ]
    return [f"federation.weighting: worst_site follows each hospital's validations: {text}" for broken, text in rules if broken]


def _private(plan: Plan) -> list[str]:
    """What leaves without noise under this mechanism."""
    if plan.privacy.mechanism == "none":
        return []
    training, loss, federation, evaluation = plan.training, plan.training.loss, plan.federation, plan.evaluation
    rules = [
        (training.sampling != "shuffle", "training.sampling: balanced draws by the hospital's labels; leave it out"),
        (
            training.max_seconds is not None,
            "training.max_seconds: how many steps fit into a time depends on the patients in them; leave it out",
        ),
        (training.clip_grad_norm is not None, "training.clip_grad_norm: use privacy.clip_norm, which bounds every patient"),
        (loss.class_weights == "balanced", "training.loss.class_weights: balanced comes from the data; give public numbers"),
        (loss.prior_adjustment > 0, "training.loss.prior_adjustment: the class frequencies come from the data; set it to 0"),
        (
            federation.weighting in ("samples", "positives"),
            f"federation.weighting: {federation.weighting} sends counts; set it to uniform, or to declared with public numbers",
        ),
        (
            federation.weighting == "q_ffl",
            "federation.weighting: q_ffl weighs by the loss of a hospital's patients, which no noise covers; set it to "
            "uniform, or under mechanism local to worst_site, which follows the noised validation scores",
        ),
        (
            federation.weighting == "worst_site" and federation.fairness_measure == "loss",
            "federation.fairness_measure: noised scores hold no loss; set it to auroc",
        ),
        (evaluation.alone, "evaluation.alone: scores of a model trained without noise would leave; set it to false"),
        (
            evaluation.recalibrate != "none",
            "evaluation.recalibrate: the map is fitted on validation patients without noise, and the test's noise covers test "
            "patients alone; set it to none",
        ),
        (
            evaluation.site_threshold is not None,
            "evaluation.site_threshold: a threshold is a validation patient's score, and the test's noise covers test patients "
            "alone; leave it out",
        ),
        (evaluation.personalise != "none", "evaluation.personalise: such a model is trained without noise; set it to none"),
    ]
    if plan.privacy.mechanism == "distributed":
        optimizer = training.optimizer
        plain = optimizer.name == "SGD" and not optimizer.momentum and not optimizer.weight_decay
        rules += [
            (
                federation.weighting in ("declared", "worst_site"),
                "federation.weighting: each hospital's share of the noise is sized for equal weights; set it to uniform",
            ),
            (training.local_steps != 1, "training.local_steps: the noise is enough for the sum of one step; set it to 1"),
            (
                not plain,
                "training.optimizer: one plain step is summed; use SGD without momentum or decay, and FedAvgM on the server",
            ),
            (bool(federation.personal), "federation.personal: a hospital's own share of the noise is too little for them"),
            (training.mu > 0, "training.mu: a single step cannot drift; set it to 0"),
            (
                plan.privacy.max_silos_per_patient > 1,
                "privacy.max_silos_per_patient: such a patient would be in one sum several times, with as many clip norms; "
                "set it to 1, or use mechanism local, whose sums are apart",
            ),
        ]
    return [f"{text} (privacy.mechanism is {plan.privacy.mechanism})" for broken, text in rules if broken]
