"""One secure round: the aggregator learns the sum of the survivors' updates, and from it the weighted mean."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aggregator.events import Observer
from aggregator.records import RoundRecord
from aggregator.replies import named
from aggregator.robust import length
from aggregator.rounds import RoundResult
from aggregator.secure.pending import Pending
from aggregator.secure.phases import Phases, Work
from aggregator.strategies import State, Strategy
from privacy.secure_aggregation.agreement import propose
from privacy.secure_aggregation.payload import mean_of, payload_size
from privacy.secure_aggregation.shares import share_of
from protocol.errors import AggregationError, QuorumError
from protocol.messages import Address, MaskedUpdate, TrainMasked
from protocol.plan import Plan
from protocol.schedule import lr_factor
from protocol.secure_aggregation import UPDATE, Member
from protocol.transport.base import Transport
from protocol.vectors import Vector, to_wire, vector_digest


def run_secure_round(
    transport: Transport,
    plan: Plan,
    address: Address,
    configured: tuple[str, ...],
    model: Vector,
    state: State,
    strategy: Strategy,
    observe: Observer,
    members: Sequence[Member],
    pending: Pending,
    shares: Mapping[str, float] | None = None,
) -> RoundResult:
    """Run the round `address` names, or open its sum if that is where it stopped. `shares`: as in run_round.

    Raises QuorumError, naming each silo's reason, if too few silos stay; then nothing was revealed.
    """
    started_at, start = time.time(), time.monotonic()
    phases = Phases(transport, plan, address, observe, f"round {address.round}")
    try:
        if (kept := pending.of_round(address.round)) is not None:
            server, total, known = kept
            phases.failures.update(known.failures)
            phases.receipts.update(known.receipts)
            phases.work.update(known.work)
        else:
            wire, deadline = to_wire(model), plan.federation.round_deadline_s
            manifest = propose(plan, address.job, members, UPDATE, payload_size(plan, model.size), wire, shares=shares)
            work = Work("training", TrainMasked(address, deadline, wire), MaskedUpdate)
            server, total = phases.collect(manifest, configured, work)
            pending.keep(server, total, phases.receipts, phases.failures, started_at, phases.work)
        opened: np.ndarray[Any, np.dtype[Any]] = phases.open(server, total)
    except AggregationError as error:
        pending.drop()
        raise QuorumError(
            f"round {address.round}: {error} Nothing was aggregated and no single update was revealed. Mend the cause and run "
            f"again with --resume.\n{named(phases.failures)}"
        ) from error
    survivors = server.uploaded
    factor = lr_factor(plan.training.schedule, address.round, plan.federation.rounds)
    agreed = {silo: share for silo in survivors if (share := share_of(server.manifest, silo)) is not None}
    update, weights = mean_of(plan, opened, survivors, len(members), factor, agreed)
    with np.errstate(over="ignore", invalid="ignore"):  # whoever commits the result judges it
        new_model, new_state = strategy(model, update, state)
    record = RoundRecord(
        round=address.round,
        attempt=address.attempt,
        started_at=started_at,
        seconds=time.monotonic() - start,
        configured=configured,
        trained=survivors,
        aggregated=survivors,
        failures=phases.failures,
        weights=weights,
        losses={},
        proximals={},
        steps={},
        silo_seconds={},
        update_norm=length(update),
        model_digest=vector_digest(new_model),
        receipts=phases.receipts,
        work={silo: phases.work[silo] for silo in survivors if silo in phases.work},
        upload_bytes=dict.fromkeys(survivors, payload_size(plan, model.size) * plan.privacy.width_bits // 8),
    )
    return RoundResult(new_model, new_state, record)
