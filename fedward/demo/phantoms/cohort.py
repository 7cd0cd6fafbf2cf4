"""Who comes to a hospital, and which exposures are made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.demo.phantoms.build import Index

Flags = NDArray[np.bool_]

TEST_SHARE = 0.25
# A patient with an opacity may have an earlier image on which it was not there yet.
PRIOR_SHARE = 0.2


@dataclass(frozen=True)
class Mix:
    """The people a hospital serves."""

    patients: int
    prevalence: float  # share of patients with an opacity
    women: float
    age: float  # mean, years
    age_spread: float
    visits: tuple[float, float, float]  # shares of patients with one, two and three images


@dataclass(frozen=True)
class Cohort:
    """One value a patient."""

    female: Flags
    age: Index
    ill: Flags
    test: Flags
    visits: Index


def draw(rng: np.random.Generator, mix: Mix) -> Cohort:
    """Draw the patients; sex, finding and fold are shares of the whole, so that no stratum of the test fold is empty."""
    n = mix.patients
    female = rng.permutation(n) < round(mix.women * n)
    ill = np.zeros(n, bool)
    test = np.zeros(n, bool)
    for sex in (False, True):
        members = rng.permutation(np.flatnonzero(female == sex))
        cases = round(mix.prevalence * len(members))
        ill[members[:cases]] = True
        for stratum in (members[:cases], members[cases:]):
            test[stratum[: round(TEST_SHARE * len(stratum))]] = True
    age = np.clip(rng.normal(mix.age, mix.age_spread, n), 18, 93).astype(np.int64)
    return Cohort(female, age, ill, test, rng.choice([1, 2, 3], n, p=mix.visits))


def findings(rng: np.random.Generator, cohort: Cohort, owner: Index) -> Flags:
    """Say which images show the nodule: all of a patient's, but sometimes not the first of several."""
    first = np.append(True, owner[1:] != owner[:-1])
    early = first & (cohort.visits[owner] > 1) & (rng.random(len(owner)) < PRIOR_SHARE)
    return cohort.ill[owner] & ~early
