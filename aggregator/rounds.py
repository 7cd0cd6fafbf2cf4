"""One round: broadcast the global vector, take in the updates as they come, make the strategy's step."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from aggregator.events import Observer, SiloAnswered
from aggregator.records import RoundRecord
from aggregator.replies import ask, checked_delta, named
from aggregator.robust import bounded, build_combiner, length
from aggregator.strategies import State, Strategy
from protocol.errors import QuorumError
from protocol.messages import Address, PrivateUpdate, Train, Update
from protocol.plan import Plan
from protocol.plan.federation import Federation
from protocol.transport.base import Transport
from protocol.vectors import Vector, to_wire, vector_digest


@dataclass(frozen=True)
class RoundResult:
    """The global vector and strategy state after a round, and its record. The vector may hold values that are not finite."""

    model: Vector
    state: State
    record: RoundRecord


def run_round(
    transport: Transport,
    plan: Plan,
    address: Address,
    configured: tuple[str, ...],
    model: Vector,
    state: State,
    strategy: Strategy,
    observe: Observer,
    shares: Mapping[str, float] | None = None,
) -> RoundResult:
    """Run the round `address` names. Raises QuorumError, naming each silo's reason, if too few updates are usable.

    A silo that fails, is late or sends an unusable update is recorded and left out; nothing is aggregated in its place.
    `shares`: what each silo weighs under worst_site.
    """
    started_at, start = time.time(), time.monotonic()
    combiner = build_combiner(plan.federation.aggregation, configured, model.size)
    updates: dict[str, Update | PrivateUpdate] = {}
    scaled: dict[str, float] = {}
    sizes: dict[str, int] = {}
    trained: list[str] = []

    def accept(silo: str, update: Update | PrivateUpdate) -> None:
        trained.append(silo)
        weight = _weight(plan.federation, silo, update, shares or {})
        delta = checked_delta(update, model.size, plan.federation.compression)
        if (bound := plan.federation.norm_bound) is not None:
            delta, norm = bounded(delta, bound)
            scaled.update({silo: norm} if norm > bound else {})
        combiner.add(silo, delta, weight)
        sizes[silo] = len(update.delta)
        updates[silo] = msgspec.structs.replace(update, delta=memoryview(b""))  # its memory is free before the next one comes
        observe(SiloAnswered(f"round {address.round}", silo, None))

    deadline = plan.federation.round_deadline_s
    kind: type[Update | PrivateUpdate] = Update if plan.privacy.mechanism == "none" else PrivateUpdate
    failures = ask(transport, Train(address, deadline, to_wire(model)), configured, deadline, kind, accept)
    for silo, reason in failures.items():
        observe(SiloAnswered(f"round {address.round}", silo, reason))
    if len(updates) < plan.federation.quorum:
        raise QuorumError(
            f"round {address.round}: {len(updates)} of {len(configured)} silos gave a usable update, the plan's quorum is "
            f"{plan.federation.quorum}. Nothing was aggregated. Mend the cause and run again with --resume; a changed plan "
            f"needs a new --out.\n{named(failures)}"
        )
    combined = combiner.result()
    with np.errstate(over="ignore", invalid="ignore"):  # whoever commits the result judges it
        new_model, new_state = strategy(model, combined.update, state)
    told = {silo: update for silo, update in updates.items() if isinstance(update, Update)}
    record = RoundRecord(
        round=address.round,
        attempt=address.attempt,
        started_at=started_at,
        seconds=time.monotonic() - start,
        configured=configured,
        trained=tuple(trained),
        aggregated=tuple(silo for silo in updates if silo in combined.weights),
        failures=failures,
        weights=dict(combined.weights),
        losses={silo: update.loss for silo, update in told.items()},
        proximals={silo: update.proximal for silo, update in told.items()},
        steps={silo: update.steps for silo, update in told.items()},
        silo_seconds={silo: update.seconds for silo, update in told.items()},
        update_norm=length(combined.update),
        model_digest=vector_digest(new_model),
        receipts={silo: update.receipt for silo, update in updates.items() if isinstance(update, PrivateUpdate)},
        bounded=scaled,
        upload_bytes=sizes,
        work={silo: update.work for silo, update in told.items()},
    )
    return RoundResult(new_model, new_state, record)


def _weight(federation: Federation, silo: str, update: Update | PrivateUpdate, shares: Mapping[str, float]) -> float:
    """What an update weighs. Under a private plan a silo says no count, and the plan asks for none."""
    if federation.weighting == "declared":
        return federation.declared_weights[silo]
    if federation.weighting == "worst_site":
        return shares[silo]
    if isinstance(update, Update) and federation.weighting == "q_ffl":
        return min(update.weight, federation.weight_bound) / federation.weight_bound  # no more than the loss at its bound
    if isinstance(update, Update) and federation.weighting != "uniform":
        return float(update.n_train if federation.weighting == "samples" else update.n_positives)
    return 1.0
