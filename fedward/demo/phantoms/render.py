"""From a hospital and its patients to grey images, a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.demo.phantoms import acquisition, anatomy, build, lesions, markers, texture
from fedward.demo.phantoms.build import Array, Build, Index
from fedward.demo.phantoms.cohort import Cohort, Flags
from fedward.demo.phantoms.lesions import Nodules
from fedward.demo.phantoms.sites import Site

# Clutter and vessels, cm of water: what makes a faint nodule hard to tell from lung.
VESSELS, CLUTTER = 0.8, 0.4


@dataclass(frozen=True)
class Exposures:
    """Everything about a hospital's exposures but the noise; one value an exposure."""

    build: Build
    nodules: Nodules
    female: Flags

    def take(self, index: Index) -> Exposures:
        """Return the exposures at these positions."""
        return Exposures(self.build.take(index), self.nodules.take(index), self.female[index])


def plan(rng: np.random.Generator, site: Site, cohort: Cohort, owner: Index, finding: Flags) -> Exposures:
    """Draw builds and nodules; `owner` and `finding` say, for each exposure, whose it is and what it shows."""
    return Exposures(
        build.draw(rng, cohort.female, cohort.age, owner),
        lesions.draw(rng, finding, owner, len(cohort.female), site.conspicuity),
        cohort.female[owner],
    )


def grey(rng: np.random.Generator, site: Site, exposures: Exposures) -> Array:
    """Return images of 0 (air) to 1 (dense)."""
    machine, women = site.machine, exposures.female
    at = anatomy.frame(exposures.build, machine.rows, machine.columns)
    chest = anatomy.image(exposures.build, at)
    inside = np.float32(VESSELS) * texture.vessels(rng, at) + lesions.mimics(rng, at)
    inside += np.float32(CLUTTER) * texture.clutter(rng, len(women), machine.rows, machine.columns)
    # The planted bias, if this hospital has one: the wrong preset for women.
    contrast = _for_women(women, site.women.contrast).reshape(-1, 1, 1)
    inside += contrast * lesions.shadow(exposures.nodules, at)
    tissue = chest.tissue + chest.lung * inside
    if site.lines:
        tissue += markers.lines(rng, at)
    tissue += np.float32(markers.LEAD) * markers.lettering("L", machine.rows, machine.columns, 6, 4)
    beam = acquisition.Beam(_for_women(women, site.women.dose), _for_women(women, site.women.scatter))
    return acquisition.expose(np.maximum(tissue, np.float32(0.05)), machine, beam, rng)


def _for_women(women: Flags, factor: float) -> NDArray[np.float32]:
    return np.where(women, factor, 1.0).astype(np.float32)
