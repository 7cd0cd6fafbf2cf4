"""Whether the turns that a plan with a module of its own has are enough for this hospital's patients."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from privacy.guarantee import Guarantee
from privacy.turns import refuse_crowded, turns_per_step
from protocol.plan import Plan
from protocol.plan.code import Code
from protocol.plan.privacy import PatientPrivacy
from silo_node.cohort import Sample
from silo_node.splits import decided


def refuse_without_room(
    plan: Plan, code: Code, privacy: PatientPrivacy, guarantee: Guarantee, samples: Sequence[Sample]
) -> None:
    """Raises PrivacyError, which names the plan's key to raise and no number of patients; `samples` are the whole cohort store.

    The whole, not what the plan's target and seed leave of it: a plan that leaves just eight patients and one more would else
    be told whether there is the one. What is told is whether the hospital is larger than the plan's number allows.
    """
    patients = [list(own) for _, own in groupby(sorted(samples, key=attrgetter("patient")), attrgetter("patient"))]
    refuse_crowded(len(patients), guarantee.sampling_rate, turns_per_step(code, privacy), "code.turns_per_step")
    most, split = privacy.max_images_per_patient, plan.data.split
    for part, rate in (("test", split.test_fraction), ("validation", split.validation_fraction)):
        there, perhaps = 0, 0
        for images in patients:
            fold, turns = decided(images, split), -(-len(images) // most)
            there += turns if fold == part else 0
            perhaps += turns if fold is None or (part == "validation" and fold == "train") else 0
        refuse_crowded(perhaps, rate, code.turns_per_score, "code.turns_per_score", there)
