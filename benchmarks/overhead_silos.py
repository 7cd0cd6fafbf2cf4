"""The silos of the overhead benchmark: everything a silo does in a round but training."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np

from protocol.compression import compress
from protocol.messages import Train, Update, decode_request, encode
from protocol.plan import Plan, parse_plan, plan_template
from protocol.rounding import Rounding
from protocol.transport.base import Handler
from protocol.vectors import Layout, from_wire
from silo_node.release_checks import Passage, check_kind, check_values

STEP = np.float32(1e-3)


def names_of(silos: int) -> tuple[str, ...]:
    """The silos of a run."""
    return tuple(f"silo-{index}" for index in range(silos))


def plan_of(silos: int, bits: int) -> Plan:
    """A plan without a mechanism whose updates are read one by one."""
    value = parse_plan(plan_template()).to_json()
    value["privacy"] = {"mechanism": "none", "secure_aggregation": False}
    value["federation"] |= {"quorum": silos, "weighting": "samples", "round_deadline_s": 600.0}
    if bits < 32:
        value["federation"]["compression"] = {"name": "quantised", "bits": bits}
    return parse_plan(json.dumps(value))


def layout_of(mb: float) -> Layout:
    """One vector of so many megabytes."""
    return Layout((("weights", (int(mb * 1e6 / 4),)),))


def silo(plan: Plan, layout: Layout) -> Handler:
    """Answers Train."""

    def serve(data: bytes) -> bytes:
        request = decode_request(data)
        if not isinstance(request, Train):
            raise TypeError(type(request).__name__)
        vector = from_wire(request.model)
        local = vector.copy()  # loading the network
        local += STEP
        local -= vector
        wire = compress(plan.federation.compression, local, Rounding(request.address.round))
        update = Update(request.address, wire, 100, 50, 0.5, 0.0, 1, 0.0)
        passage = Passage(request.address.job, plan, None, layout)
        check_kind(update, request.address, passage)
        check_values(update, passage)
        return encode(update)

    return serve


def serve_forever(kit: Path, mb: float, bits: int) -> None:
    """One silo of a consortium, until SIGTERM."""
    from protocol.consortium.folder import PartyFolder, ready
    from protocol.transport.nats import NatsInbox
    from protocol.transport.nats.kit import endpoint_of

    place = PartyFolder(kit)
    name, roster = ready(place)
    key, endpoint = bytes.fromhex(roster.aggregator.identity), endpoint_of(place, name)
    inbox = NatsInbox(endpoint, place.open_identity(), name, key, consortium=roster.consortium)
    signal.signal(signal.SIGTERM, lambda *_: inbox.stop())
    inbox.serve(silo(plan_of(len(roster.active), bits), layout_of(mb)))
