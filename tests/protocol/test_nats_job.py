"""A whole job over a real broker: the same model, bit by bit, as in one process."""

from __future__ import annotations

import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.job import Job
from protocol.plan import Plan
from protocol.secure_aggregation import Member
from protocol.transport.base import Handler, Transport
from protocol.transport.in_process import InProcessTransport
from silo_node.node import SiloNode
from tests.conftest import PRIVATE, tiny_node, tiny_plan, tiny_store
from tests.protocol.nats_federation import Federation
from tests.protocol.nats_server import Server, shared_server

__all__ = ["shared_server"]

SECURE = {"privacy": {"mechanism": "none", "secure_aggregation": True}, "evaluation": {"alone": False}}
NAMES = ("s0", "s1", "s2", "s3")


def make_nodes(folder: Path) -> dict[str, SiloNode]:
    nodes = {
        name: tiny_node(name, tiny_store(folder / name, n=40 + 8 * i, seed=i), folder / f"state-{name}")
        for i, name in enumerate(NAMES)
    }
    members = [Member(name, node.public_key) for name, node in nodes.items()]
    for node in nodes.values():
        node.pin(members)
    return nodes


def one_at_a_time(nodes: dict[str, SiloNode]) -> dict[str, Handler]:
    """As silos on machines of their own: torch has one generator a process, which two that train at once would share."""
    lock = threading.Lock()

    def serve(node: SiloNode, request: bytes) -> bytes:
        with lock:
            return node(request)

    return {name: partial(serve, node) for name, node in nodes.items()}


def run(plan: Plan, transport: Transport, nodes: dict[str, SiloNode], folder: Path) -> tuple[np.ndarray[Any, Any], list[Any]]:
    members = [Member(name, node.public_key) for name, node in nodes.items()]
    job = Job(plan, transport, folder / "job", lambda _: None, {}, members)
    with closing(job.journal):
        job.run()
        record = job.evidence()
        assert record is not None
        assert (sorted(record.cosignatures), record.failures, record.gaps) == (sorted(nodes), {}, {})
        return job.models.final(), job.rounds()


def test_secure_rounds_over_nats_give_the_very_same_model(shared_server: Server, tmp_path: Path) -> None:
    plan = tiny_plan(**SECURE)
    here = make_nodes(tmp_path / "here")
    with closing(InProcessTransport(here)) as in_process:
        expected, _ = run(plan, in_process, here, tmp_path / "here")
    there = make_nodes(tmp_path / "there")
    with closing(Federation(shared_server, tmp_path / "wire", one_at_a_time(there))) as federation:
        model, rounds = run(plan, federation.transport, there, tmp_path / "there")
    assert model.tobytes() == expected.tobytes()
    assert [sorted(one.aggregated) for one in rounds] == [list(NAMES)] * 3
    assert not any(one.failures for one in rounds)


@pytest.mark.parametrize("changes", [{}, PRIVATE], ids=["open", "private"])
def test_plans_without_secure_aggregation_finish_too(changes: dict[str, Any], shared_server: Server, tmp_path: Path) -> None:
    plan = tiny_plan(**{**changes, "federation.rounds": 1})
    nodes = make_nodes(tmp_path)
    with closing(Federation(shared_server, tmp_path / "wire", one_at_a_time(nodes))) as federation:
        model, rounds = run(plan, federation.transport, nodes, tmp_path)
    assert np.isfinite(model).all()
    assert sorted(rounds[0].aggregated) == list(NAMES)
