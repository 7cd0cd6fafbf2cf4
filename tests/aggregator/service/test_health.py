"""The aggregator says how it is: to a container's health check, and to Prometheus."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from aggregator.service.health import health_page
from aggregator.service.queue import Queue
from protocol.errors import InputError
from tests.conftest import tiny_plan

PRESENCE = {"north": ("alive", 1.0), "south": ("lost", 40.0)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_it_is_ready_while_the_broker_is_reached(tmp_path: Path) -> None:
    link, port = {"up": True}, free_port()
    with health_page(port, tmp_path, lambda: link["up"], lambda: PRESENCE):
        assert get(port, "/readyz")[0] == 200
        link["up"] = False
        status, body = get(port, "/readyz")
        assert status == 503
        assert json.loads(body) == {"ready": False, "broker": False, "jobs": True, "room": True}
        assert get(port, "/healthz") == (200, b"ok\n")


def test_it_is_not_ready_while_a_job_waits_for_room(tmp_path: Path) -> None:
    port = free_port()
    with health_page(port, tmp_path, lambda: True, lambda: PRESENCE, lambda: False):
        status, body = get(port, "/readyz")
        lines = get(port, "/metrics")[1].decode().splitlines()
    assert (status, json.loads(body)["room"]) == (503, False)
    assert "fedward_waiting_for_room 1.0" in lines


def test_prometheus_reads_who_is_there_and_what_waits(tmp_path: Path) -> None:
    Queue(tmp_path).submit(tiny_plan(privacy={"mechanism": "none"}))
    port = free_port()
    with health_page(port, tmp_path, lambda: True, lambda: PRESENCE):
        lines = get(port, "/metrics")[1].decode().splitlines()
    assert "fedward_broker_connected 1.0" in lines
    assert 'fedward_silo_alive{silo="north"} 1.0' in lines
    assert 'fedward_silo_alive{silo="south"} 0.0' in lines
    assert 'fedward_jobs{state="queued"} 1.0' in lines


def test_port_0_is_no_page_and_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with health_page(0, tmp_path, lambda: True, dict) as page:
        assert page is None
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=str(port)), health_page(port, tmp_path, lambda: True, dict):
            pass
