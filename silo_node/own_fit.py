"""What a hospital fits to its own validation patients for the final test: a recalibration, thresholds. Both stay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.recalibration import Recalibration, fit, own_thresholds
from protocol.errors import SiloError
from protocol.messages import Score
from silo_node.job import OpenJob
from silo_node.scoring import log_probabilities


@dataclass(frozen=True)
class OwnFit:
    """The map to use, and for each scored class the log-odds from which it is called; the default changes nothing."""

    recalibration: Recalibration | None = None
    thresholds: tuple[float | None, ...] = ()


def fitted(job: OpenJob, request: Score) -> OwnFit:
    """What `request` and the plan ask for, on the model that is loaded. Raises SiloError for what the plan does not foresee.

    A hospital without validation patients keeps the model as it is.
    """
    evaluation = job.plan.evaluation
    recalibrate = evaluation.recalibrate if request.kind == "recalibrated" else None
    if recalibrate == "none" or (recalibrate is not None and request.split != "test"):
        raise SiloError("the plan foresees no such scores: only the test is recalibrated, and only if evaluation says so.")
    wanted = evaluation.site_threshold if (request.kind, request.split) == ("federated", "test") else None
    positions = list(job.cohort.parts.validation)
    if not positions or (recalibrate is None and wanted is None):
        return OwnFit()
    labels = np.asarray(job.cohort.labels[positions])
    rows = log_probabilities(job.model, job.cohort, "validation")
    return OwnFit(
        None if recalibrate is None else fit(labels, rows, recalibrate),
        () if wanted is None else own_thresholds(labels, rows, wanted.sensitivity),
    )
