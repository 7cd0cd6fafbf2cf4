"""Which images a hospital has: the regular ones, and the extra ones that its misfits are made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedward.demo.phantoms import cohort as cohorts
from fedward.demo.phantoms.cohort import Cohort
from fedward.demo.phantoms.misfits import IMAGES, Misfit
from fedward.demo.phantoms.sites import Site

_FRAMES = 3


@dataclass(frozen=True)
class Shot:
    """One image file to be made."""

    patient: int
    visit: int  # 1 for the patient's first image
    finding: bool
    frames: int = 1
    misfit: Misfit | None = None


def worklist(rng: np.random.Generator, site: Site, cohort: Cohort) -> tuple[Shot, ...]:
    """List a hospital's images, patient by patient. Films and misfits come on top, as a patient's last image."""
    owner = np.repeat(np.arange(len(cohort.visits)), cohort.visits)
    finding = cohorts.findings(rng, cohort, owner)
    visit = np.arange(len(owner)) - np.searchsorted(owner, owner) + 1
    shots = [Shot(int(patient), int(number), bool(found)) for patient, number, found in zip(owner, visit, finding, strict=True)]
    extra = [Shot(0, 0, False, frames=_FRAMES)] * site.cines
    extra += [Shot(0, 0, False, misfit=misfit) for misfit in site.misfits if misfit in IMAGES]
    # Each on another patient, who has regular images too: a reject never costs a patient.
    chosen = rng.choice(len(cohort.visits), len(extra), replace=False)
    for patient, shot in zip(chosen, extra, strict=True):
        last = int(cohort.visits[patient]) + 1
        shots.append(Shot(int(patient), last, bool(cohort.ill[patient]), shot.frames, shot.misfit))
    return tuple(sorted(shots, key=lambda shot: (shot.patient, shot.visit)))
