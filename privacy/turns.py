"""Turns: when a patient is calculated on may depend on nobody else, or a program that knows the time tells of who is missing.

A plan's own module sees one patient in a process of its own, but no wall keeps it from a clock, and processes are numbered. If
patients followed one another, a missing one would move all later ones, and a module that answers otherwise in every second
turn would make that as plain as it likes. So a step has a public number of turns, each as long as the others. The sampled
patients get places among them, every assignment equally likely, and in the rest a blank image is calculated on. Without one
patient the others' places are distributed as before: of all that is added up only that patient's own part changes, as DP-SGD
needs it (Abadi et al., CCS 2016).

More patients than turns have no room. How likely that is, is part of delta: it is refused where it is not negligible. Whether
it is refused leaves the hospital, and the number of turns is the researcher's: patients are counted in steps that no plan
chooses.
"""

from __future__ import annotations

import math

from privacy.randomness import Integers, SecureBits, choose
from protocol.errors import PrivacyError
from protocol.plan.code import Code
from protocol.plan.privacy import PatientPrivacy

NEGLIGIBLE = 1e-12
"""Chance that a step of one hospital draws more patients than it has turns; 1,000 steps make 1e-9 of it, beside delta."""
_DEVIATIONS = 8.0


def enough(expected: int) -> int:
    """Turns for `expected` patients drawn on average: eight standard deviations (of a Poisson number) and eight more."""
    return expected + math.ceil(_DEVIATIONS * math.sqrt(expected) + _DEVIATIONS)


def turns_per_step(code: Code, privacy: PatientPrivacy) -> int:
    """The turns of a step at each hospital: a public number, of the plan alone."""
    return enough(privacy.batch_patients) if code.turns_per_step is None else code.turns_per_step


def places(n: int, turns: int, bits: SecureBits) -> list[int | None]:
    """Who has each of `turns` turns: one of 0 to n - 1, or nobody (None). If n is above `turns`, some have none, any of them.

    Every assignment is equally likely, so without the last of n the others' places are distributed as with it.
    """
    taken: list[int | None] = [None] * turns
    guests = range(n) if n <= turns else [int(one) for one in choose(n, turns, bits)]
    seats: Integers = choose(turns, len(guests), bits)
    for guest, seat in zip(guests, seats, strict=True):
        taken[int(seat)] = guest
    return taken


def coarse(n: int) -> int:
    """`n` rounded up to a multiple of 8, above 128 to one of a sixteenth of the power of two that holds it.

    A plan with just as many turns as a hospital has patients without one would else be refused for that one.
    """
    grid = max(8, 1 << max(0, max(0, n - 1).bit_length() - 4))
    return -(-n // grid) * grid


def refuse_crowded(patients: int, rate: float, turns: int, key: str, always: int = 0) -> None:
    """Raises PrivacyError if more than `turns` of `patients`, each drawn with chance `rate`, are not as good as impossible.

    `always` more are drawn for certain. Both are counted coarsely. `key` is the plan's, to be raised. The text holds no number
    of patients.
    """
    from scipy.stats import binom

    if float(binom.sf(turns - coarse(always), coarse(patients), rate)) > NEGLIGIBLE:
        raise PrivacyError(
            f"{key}: {turns} turns may not be enough for this hospital's patients. Raise it; every turn takes its time, "
            "somebody's or not."
        )
