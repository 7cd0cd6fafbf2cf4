"""Whether the turns that a plan with a module of its own has are enough for this hospital's patients."""

from __future__ import annotations

from privacy.guarantee import Guarantee
from privacy.turns import refuse_crowded, turns_per_step
from protocol.plan.code import Code
from protocol.plan.privacy import PatientPrivacy
from silo_node.scoring import in_turns
from silo_node.training.cohort import Cohort


def refuse_without_room(code: Code, privacy: PatientPrivacy, guarantee: Guarantee, cohort: Cohort, patients: int) -> None:
    """Raises PrivacyError, which names the plan's key to raise and no number of patients; `patients` are in the cohort store.

    That it is raised tells whether there are more patients than the plan's number, once for each plan that officers approved.
    """
    refuse_crowded(patients, guarantee.sampling_rate, turns_per_step(code, privacy), "code.turns_per_step")
    for part in ("validation", "test"):
        needed = len(in_turns(cohort.patients[list(cohort.parts.named(part))], privacy.max_images_per_patient))
        refuse_crowded(needed, 1.0, code.turns_per_score, "code.turns_per_score")
