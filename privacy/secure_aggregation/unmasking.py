"""How the aggregator opens the sum: the survivors' self-masks come off, the masks towards those who dropped out come off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from privacy.secure_aggregation.keys import Context, public_of
from privacy.secure_aggregation.masking import Unsigned, add_masks
from privacy.secure_aggregation.server_state import ServerState, Stage
from privacy.secure_aggregation.shamir import combine
from privacy.secure_aggregation.statements import positions
from protocol.errors import AggregationError
from protocol.secure_aggregation import Advertisement, Unmasking


def open_sum(
    state: ServerState, total: Unsigned, progress: Callable[[int], None] = lambda _: None
) -> npt.NDArray[np.signedinteger[Any]]:
    """The exact sum of the survivors' vectors as signed integers centred on 0, shape (size,): a view on `total`.

    `total` is overwritten. After a kill repeat this with the saved state and the saved total. Raises AggregationError, with
    `total` as it was, if the shares do not give the secrets that their owners committed to.
    """
    state.expect(Stage.COMPLETE)
    plus, minus = _masks(state)
    add_masks(total, plus, minus, out=total, progress=progress)
    return total.view(f"<i{total.itemsize}")


def _masks(state: ServerState) -> tuple[list[bytes], list[bytes]]:
    """Keys of the masks to add to and to subtract from the total.

    What survivors added for a silo that dropped out is what that silo would have added for them, with the opposite sign.
    """
    context, place = Context(state.where, state.manifest_digest), positions(state.manifest)
    survivors = [a for a in state.advertisements if a.silo in state.uploaded]
    dropouts = [a for a in state.advertisements if a.silo not in state.uploaded]
    seeds, privates = _secrets(state, context, survivors, dropouts)
    pairs = [context.pair_keys(privates[gone.silo], gone.silo, survivors, place) for gone in dropouts]
    self_keys = [context.self_key(seeds[silo.silo], silo.silo) for silo in survivors]
    return list(chain.from_iterable(plus for plus, _ in pairs)), [*self_keys, *chain.from_iterable(minus for _, minus in pairs)]


def _secrets(
    state: ServerState, context: Context, survivors: Sequence[Advertisement], dropouts: Sequence[Advertisement]
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Seeds of the survivors and mask keys of the others, from the shares of t silos.

    If more than t answered, one of them may be left out: a single silo that lies about shares cannot stop the others.
    """
    threshold, place = state.manifest.threshold, positions(state.manifest)
    groups = [state.unmaskings[:threshold]]
    if len(state.unmaskings) > threshold:
        groups += [(state.unmaskings[:index] + state.unmaskings[index + 1 :])[:threshold] for index in range(threshold)]
    problem = ""
    for group in groups:
        try:
            seeds = _combined(group, place, lambda one: one.seeds)
            privates = _combined(group, place, lambda one: one.keys)
        except AggregationError as error:
            problem = problem or str(error)
            continue
        wrong = [a.silo for a in survivors if context.seed_digest(seeds[a.silo], a.silo) != a.seed_digest]
        wrong += [a.silo for a in dropouts if public_of(privates[a.silo]) != a.mask_key]
        if not wrong:
            return seeds, privates
        problem = problem or f"the shares of {', '.join(wrong)} do not give what it committed to."
    raise AggregationError(f"{problem} The sum stays masked; somebody shared or revealed wrongly. Try another attempt.")


def _combined(group: Sequence[Unmasking], place: Mapping[str, int], part: Callable[[Unmasking], Any]) -> dict[str, bytes]:
    shares: dict[str, dict[int, bytes]] = {}
    for one in group:
        for share in part(one):
            shares.setdefault(share.silo, {})[place[one.silo]] = share.value
    return {silo: combine(values) for silo, values in shares.items()}
