"""Scores that leave masked only: one vector of counts, of which the aggregator learns the sum over the hospitals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.summed import exact_vector, noised_vector
from privacy.secure_aggregation.agreement import check_digest, check_model, masked_counts
from protocol.errors import SiloError
from protocol.messages import MaskedScores, Score, ScoreMasked
from protocol.plan import Plan
from protocol.secure_aggregation import AUDIT, UPDATE, Manifest, Where
from silo_node import answers, private_answers
from silo_node.gate import UNSIGNED
from silo_node.job import Job, OpenJob, PrivateJob
from silo_node.secure import SecurePart, as_wire


def check_foreseen(plan: Plan, where: Where) -> None:
    """Raises SiloError for a scoring that the plan does not foresee.

    Without noise each sum tells a little; sums of nearly the same counts over different silos would tell much.
    """
    (kind, split), number, rounds = where.scoring, where.round, plan.federation.rounds
    due = 1 <= number <= rounds and (number % plan.evaluation.every == 0 or number == rounds)
    evaluation = plan.evaluation
    kinds = {"federated": True, "alone": evaluation.alone, "personalised": evaluation.personalise != "none"}
    kinds["recalibrated"] = evaluation.recalibrate != "none"
    if not ((split == "validation" and kind == "federated" and due) or (split == "test" and number == rounds and kinds[kind])):
        raise SiloError(
            f"the plan foresees no {split} scores of the {kind} model after round {number}: validation when evaluation.every "
            "says so, the test once after the last round."
        )


def masked(job: Job, secure: SecurePart, request: ScoreMasked, where: Where) -> MaskedScores:
    """The counts of one scoring, masked for the silos of this attempt. Raises AggregationError, and what scoring raises.

    Under privacy what is masked was noised and charged like any release of scores, once, and is kept.
    """
    if where.purpose in (UPDATE, AUDIT):
        raise SiloError("scores are asked for in the name of a round or an audit; they are refused.")
    secure.refuse_if_opened(where)  # asked when keys were made, too; in between another process of this silo may have opened
    manifest = secure.ready(where)
    _check_agreed(job, request, where, manifest)
    private = isinstance(job, PrivateJob)
    vector = masked_counts(_counts(job, request, where), len(manifest.roster), noised=private)
    wire = as_wire(secure.mask(where, vector))
    return MaskedScores(request.address, wire, UNSIGNED if private else None)


def _check_agreed(job: Job, request: ScoreMasked, where: Where, manifest: Manifest) -> None:
    """Raises AggregationError unless all silos of the attempt score the same model, or one fine-tuned from the same.

    Else an aggregator could let all but one hospital fine-tune a model that nothing can move: their counts would all lie in
    one bin, and the sum would be that one's.
    """
    if where.scoring[0] != "personalised" or job.plan.evaluation.personalise != "fine_tune":
        check_model(manifest, request.model)
    elif (origin := job.state.origin()) is None:
        raise SiloError("this silo has no personalised model.")
    else:
        check_digest(manifest, origin)


def _counts(job: Job, request: ScoreMasked, where: Where) -> NDArray[np.int64]:
    plain = Score(request.address, *where.scoring, request.model)
    if isinstance(job, PrivateJob):
        return noised_vector(private_answers.score(job, plain).classes)
    if not isinstance(job, OpenJob):
        raise SiloError("this job is neither open nor private.")
    # A hospital without patients in the part adds nothing, and must not show.
    empty = not job.cohort.parts.named(plain.split)
    return exact_vector(job.plan, None if empty else answers.score(job, plain))
