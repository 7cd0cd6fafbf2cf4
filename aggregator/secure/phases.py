"""The five phases over a transport, from the first key to the opened sum; the state machine checks what silos send."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from aggregator.events import Observer, SiloAnswered
from aggregator.replies import ask_each
from privacy.secure_aggregation import server
from privacy.secure_aggregation.masking import Unsigned, dtype_of
from privacy.secure_aggregation.server_state import ServerState
from privacy.secure_aggregation.unmasking import open_sum
from protocol.errors import AggregationError, UpdateError
from protocol.messages import (
    Address,
    Advertise,
    Advertised,
    AskVouch,
    AuditMasked,
    Deliver,
    Delivered,
    MaskedScores,
    MaskedUpdate,
    Receipt,
    Release,
    Request,
    Reveal,
    Revealed,
    ScoreMasked,
    Shared,
    ShareSecrets,
    TrainMasked,
    Vouched,
)
from protocol.plan import Plan
from protocol.secure_aggregation import Manifest, Where
from protocol.transport.base import Transport

R = TypeVar("R", bound=Release)


@dataclass(frozen=True)
class Work:
    """What silos do in the third phase: its name, the request, one for all, and the kind of its answer."""

    name: str
    request: TrainMasked | ScoreMasked | AuditMasked
    kind: type[MaskedUpdate] | type[MaskedScores]


@dataclass
class Phases:
    """One attempt at what `step` names. `failures` says of every silo that fell out, in which phase and why."""

    transport: Transport
    plan: Plan
    address: Address
    observe: Observer
    step: str
    failures: dict[str, str] = field(default_factory=dict)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)

    def collect(self, manifest: Manifest, silos: tuple[str, ...], work: Work) -> tuple[ServerState, Unsigned]:
        """Keys, shares, masked vectors: the state with its survivors, and the masked sum. Raises AggregationError."""
        address = self.address
        state = server.begin(manifest, Where(address.job, address.round, address.attempt, address.purpose))
        ads = self._gather("keys", dict.fromkeys(silos, Advertise(address, manifest)), Advertised)
        state, shown, refused = server.gather_advertisements(state, {silo: one.advertisement for silo, one in ads.items()})
        self._refuse("keys", refused)
        shared = self._gather("shares", dict.fromkeys(state.silos, ShareSecrets(address, shown)), Shared)
        state, refused = server.gather_shares(state, {silo: one.boxes for silo, one in shared.items()})
        self._refuse("shares", refused)
        boxes = {silo: Deliver(address, server.incoming(state, silo)) for silo in state.silos if silo in shared}
        delivered = self._gather("delivery", boxes, Delivered)
        total = server.new_total(manifest)
        requests: dict[str, Request] = dict.fromkeys(delivered, work.request)

        def add(silo: str, reply: MaskedUpdate | MaskedScores) -> None:
            nonlocal state
            try:
                state = server.add(state, total, silo, np.frombuffer(reply.masked, dtype=dtype_of(manifest.width_bits)))
            except (AggregationError, ValueError) as error:
                raise UpdateError(str(error)) from error
            if reply.receipt is not None:
                self.receipts[silo] = reply.receipt
            if isinstance(reply, MaskedUpdate) and reply.work is not None:
                self.work[silo] = reply.work
            self.observe(SiloAnswered(self.step, silo, None))

        kind: type[MaskedUpdate | MaskedScores] = work.kind
        self._ask(work.name, requests, kind, add)
        state, _ = server.close(state)
        return state, total

    def open(self, state: ServerState, total: Unsigned) -> np.ndarray[Any, np.dtype[Any]]:
        """Vouches and shares of the survivors: the exact sum as signed integers, a view on `total`. Raises AggregationError."""
        survivors = state.uploaded
        vouched = self._gather("vouches", dict.fromkeys(survivors, AskVouch(self.address, survivors)), Vouched)
        state, vouches, refused = server.gather_vouches(state, {silo: one.vouch for silo, one in vouched.items()})
        self._refuse("vouches", refused)
        revealed = self._gather("unmasking", dict.fromkeys(survivors, Reveal(self.address, vouches)), Revealed)
        state, refused = server.gather_unmaskings(state, {silo: one.unmasking for silo, one in revealed.items()})
        self._refuse("unmasking", refused)
        return open_sum(state, total)

    def _gather(self, phase: str, requests: Mapping[str, Request], kind: type[R]) -> dict[str, R]:
        replies: dict[str, R] = {}
        self._ask(phase, requests, kind, replies.__setitem__)
        return replies

    def _ask(self, phase: str, requests: Mapping[str, Request], kind: type[R], accept: Callable[[str, R], None]) -> None:
        deadline = self.plan.federation.round_deadline_s
        self._refuse(phase, ask_each(self.transport, requests, self.address, deadline, kind, accept))

    def _refuse(self, phase: str, reasons: Mapping[str, str]) -> None:
        for silo, reason in reasons.items():
            if silo not in self.failures:  # what follows from the first failure is not another one
                self.failures[silo] = f"{phase}: {reason}"
                self.observe(SiloAnswered(self.step, silo, self.failures[silo]))
