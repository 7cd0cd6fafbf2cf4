"""A job's course as the checkpoint tells it: which model each round began and ended with, and who was in it."""

from __future__ import annotations

from collections.abc import Sequence

from aggregator.evidence.seen import Seen
from aggregator.history import History
from protocol.evidence.checkpoint import Round
from protocol.secure_aggregation import UPDATE

_TRAINING = ("train", "train-masked")
_SCORING = ("score", "score-masked")


def course(history: History, told: Sequence[Seen], initial: str) -> tuple[tuple[Round, ...], dict[str, str]]:
    """(rounds, digest of the model that was sent to be scored after each round but the last).

    `initial` is the digest of the model before the first round. A round of an older release, of which no request was noted,
    began with the model that the one before it ended with.
    """
    sent = {
        (one.address.round, one.address.attempt): one.model
        for one in told
        if one.request in _TRAINING and one.address.purpose == UPDATE
    }
    rounds: list[Round] = []
    records, before = history.rounds(), initial
    for record in records:
        begun = sent.get((record.round, record.attempt), before)
        rounds.append(
            Round(
                round=record.round,
                attempt=record.attempt,
                trained=tuple(sorted(record.trained)),
                aggregated=tuple(sorted(record.aggregated)),
                before=begun,
                after=record.model_digest,
                rejected=record.rejected is not None,
            )
        )
        before = begun if record.rejected is not None else record.model_digest
    scored = {
        str(one.address.round): one.model
        for one in told
        if one.request in _SCORING and one.model and one.address.round < len(records)
    }
    return tuple(rounds), scored
