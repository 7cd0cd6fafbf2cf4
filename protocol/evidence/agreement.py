"""Whether a checkpoint says what a silo's own chain says. The silo asks before it signs; the auditor asks for every silo."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.errors import EvidenceError
from protocol.evidence.checkpoint import Checkpoint, Round
from protocol.evidence.receipt import REFUSAL, UPDATES, Head, ReleaseReceipt
from protocol.secure_aggregation import UPDATE


def check_chain(checkpoint: Checkpoint, site: str, head: Head) -> None:
    """Raises EvidenceError unless the chain of `site` stands in the checkpoint to its end."""
    found = checkpoint.chain(site)
    if found is None:
        raise EvidenceError(f"the checkpoint leaves the receipts of {site} out.")
    if (found.length, found.head) != (head.length, head.digest):
        raise EvidenceError(
            f"the checkpoint ends the chain of {site} after {found.length} receipts, but it has {head.length}"
            + (" with another end." if found.length == head.length else "; some were left out or added.")
        )


def check_models(checkpoint: Checkpoint, site: str, receipts: Sequence[ReleaseReceipt]) -> bool:
    """Whether `site` was given the final model; raises EvidenceError if it was ever given another than the checkpoint says.

    Every silo's receipts held against one checkpoint show whether all of them were given the same models.
    """
    rounds = {one.round: one for one in checkpoint.rounds}
    last, seen = max(rounds, default=0), False
    for receipt in receipts:
        if not receipt.model or receipt.kind == REFUSAL:
            continue
        wanted = _model_of(checkpoint, rounds, last, receipt)
        if receipt.model != wanted:
            what = "trained from" if receipt.kind in UPDATES else "was given to score"
            raise EvidenceError(
                f"{site} {what} another model in round {receipt.round} ({receipt.kind}) than the checkpoint says"
                + ("." if wanted else ": it names none.")
            )
        seen = seen or (receipt.model == checkpoint.model and receipt.kind not in UPDATES)
    return seen


def check_part(checkpoint: Checkpoint, site: str, receipts: Sequence[ReleaseReceipt]) -> None:
    """Raises EvidenceError unless `site` sent an update for every round it is in, and saw the sum it is in."""
    sent = {receipt.place for receipt in receipts if receipt.kind in UPDATES}
    shown = {receipt.place: receipt.survivors for receipt in receipts if receipt.survivors}
    for one in checkpoint.rounds:
        place = (one.round, one.attempt, UPDATE)
        if site in {*one.trained, *one.aggregated} and place not in sent:
            raise EvidenceError(
                f"{site} is said to be in round {one.round} (attempt {one.attempt}), but sent no update for it."
            )
        if place in shown and sorted(shown[place]) != sorted(one.trained):
            raise EvidenceError(
                f"{site} vouched for {', '.join(sorted(shown[place]))} in the sum of round {one.round}, not for "
                f"{', '.join(sorted(one.trained)) or 'nobody'}."
            )


def check_course(checkpoint: Checkpoint) -> None:
    """Raises EvidenceError unless every round begins with the model that stood before it, none left out or twice."""
    numbers = [one.round for one in checkpoint.rounds]
    if numbers != list(range(1, len(numbers) + 1)):
        raise EvidenceError(f"the rounds are numbered {', '.join(map(str, numbers))}; one is missing, twice or out of order.")
    for before, one in zip(checkpoint.rounds, checkpoint.rounds[1:], strict=False):
        stood = {before.after}
        if before.rejected:  # the model then is one that stood earlier
            earlier = checkpoint.rounds[: before.round]
            stood |= {each.after for each in earlier} | {earlier[0].before}
        if one.before not in stood:
            raise EvidenceError(f"round {one.round} began with another model than round {before.round} ended with.")


def _model_of(checkpoint: Checkpoint, rounds: dict[int, Round], last: int, receipt: ReleaseReceipt) -> str | None:
    if receipt.kind in UPDATES:
        return rounds[receipt.round].before if receipt.round in rounds else None
    return checkpoint.model if receipt.round == last else checkpoint.scored.get(str(receipt.round))
