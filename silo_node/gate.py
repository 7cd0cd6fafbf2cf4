"""The only way out of the hospital: a few typed releases, each checked before it becomes bytes; unknown means refused.

What is checked so far: the type, the job and plan it answers, and that every number is finite and every vector has the
length the plan's network gives it.
"""

from __future__ import annotations

import math

import numpy as np

from protocol.errors import GateError
from protocol.messages import Address, Description, Done, Refusal, Release, Scores, Update, encode
from protocol.vectors import Layout, from_wire


def release(message: Release, address: Address, layout: Layout | None) -> bytes:
    """The bytes of `message` if it may leave in answer to `address`. Raises GateError."""
    if not isinstance(message, Description | Update | Scores | Done | Refusal):
        raise GateError(f"{type(message).__name__} is not a release the gate knows; nothing left.")
    if message.address != address:
        raise GateError("the release answers another request than the one at hand; nothing left.")
    if isinstance(message, Update):
        _check_update(message, layout)
    if isinstance(message, Scores):
        _check_scores(message)
    return encode(message)


def _check_update(update: Update, layout: Layout | None) -> None:
    delta = from_wire(update.delta)
    if layout is None or delta.size != layout.size:
        raise GateError("the update has another length than the plan's network; nothing left.")
    if not np.isfinite(delta).all() or not math.isfinite(update.loss) or not math.isfinite(update.proximal):
        raise GateError("the update holds a value that is not finite; nothing left. Lower training.optimizer.lr.")


def _check_scores(scores: Scores) -> None:
    numbers = [
        scores.loss,
        scores.accuracy,
        *(c.auroc for c in scores.classes),
        *(c.auroc_variance for c in scores.classes),
        *(c.covariance_with_alone for c in scores.classes),
    ]
    if not all(number is None or math.isfinite(number) for number in numbers):
        raise GateError("the scores hold a value that is not finite; nothing left. The model may have diverged.")
