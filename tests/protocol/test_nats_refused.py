"""A silo whose certificate the broker does not know any more: it is told why, and not every second."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest

from aggregator.consortium.coordinator import dismiss
from protocol.identity import Identity
from protocol.transport.nats import NatsInbox, link
from protocol.transport.nats.kit import endpoint_of
from tests.aggregator.consortium.brokers import Broker, hospital, make_office


def broker_lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    told = [record.__dict__ for record in caplog.records if record.__dict__.get("event") == "broker"]
    return [(record["error"], record.get("reason", "")) for record in told]


def test_a_removed_silo_reads_why_it_is_not_let_in_once_and_goes_on_trying(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Exception] = []
    kept = link.Link._on_error

    async def counted(self: link.Link, error: Exception) -> None:
        tries.append(error)
        await kept(self, error)

    monkeypatch.setattr(link.Link, "_on_error", counted)
    office = make_office(tmp_path / "office")
    place = hospital(office, tmp_path, "a")
    dismiss(office, "a")
    with Broker(office), caplog.at_level(logging.WARNING):
        inbox = NatsInbox(endpoint_of(place, "a"), Identity.open(place.identity), "a", bytes(32), consortium="thorax")
        thread = threading.Thread(target=inbox.serve, args=(lambda request: request,))
        thread.start()
        until = time.monotonic() + 20.0
        while len(tries) < 3 and time.monotonic() < until:
            time.sleep(0.05)
        inbox.stop()
        thread.join(30)
    assert len(tries) >= 3
    lines = broker_lines(caplog)
    assert any("was this party removed" in reason for _, reason in lines)
    assert len(lines) == len(set(lines)) < len(tries)
