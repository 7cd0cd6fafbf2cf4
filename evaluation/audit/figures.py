"""What the audit measures of each group of test patients, from the summed counts: all that is shown or compared later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evaluation.audit.layout import Group
from evaluation.audit.ranking import Ranked
from evaluation.measured import Measured

Point = tuple[float, float]  # a value and its variance: that of patients drawn by chance and that of the noise together
Hidden = Literal["small_cell", "complement"]


@dataclass(frozen=True)
class Cells:
    """The cases of a group at one threshold: called (t) or not (f) as they are, positives and negatives; estimates under noise.

    `noise` holds the variance of the noise on tp, fn, fp, tn (0 without). A figure made of tp and fn may be shown only where
    `positives_shown`, one made of fp and tn only where `negatives_shown`: elsewhere a cell is so small that it would tell of
    few patients, or would give away one that is. What needs all four needs both.
    """

    threshold: float
    tp: float
    fn: float
    fp: float
    tn: float
    noise: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    positives_shown: bool = True
    negatives_shown: bool = True


@dataclass(frozen=True)
class Calibration:
    """Log-odds of a group against its outcomes; None where it cannot be told. Each variance is that of the value itself."""

    intercept: Point | None = None
    slope: Point | None = None
    observed_expected: Point | None = None


@dataclass(frozen=True)
class GroupFigures:
    """One group and one class against the rest.

    `n` cases (images; under privacy patients, by estimate, possibly negative), `events` of them positive, each with the
    standard deviation `count_sd` of the noise on positives and on negatives. `design` says by how much images of one patient
    widen what rests on positives and on negatives (Kish; 1 where each patient has one image); variances hold it already.
    `rates` has one entry for each operating point. Unless `shown`, nothing of the group may be shown, not even in a
    difference, for `why`; the numbers are here all the same.
    """

    group: Group
    n: float
    events: float
    count_sd: float = 0.0
    design: tuple[float, float] = (1.0, 1.0)
    auroc: Measured | None = None
    average_precision: Ranked | None = None
    rates: tuple[Cells, ...] = ()
    calibration: Calibration = Calibration()
    shown: bool = True
    why: Hidden | None = None
