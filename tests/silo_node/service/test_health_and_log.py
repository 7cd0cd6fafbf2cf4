"""What a node shows of itself: health on loopback, metrics, and a log of allowed fields only."""

from __future__ import annotations

import http.client
import io
import json
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from protocol.errors import InputError
from protocol.messages import Address, Describe, Done, Refusal, decode_release, encode
from protocol.service_health import HealthPage
from protocol.service_log import JsonLines, TextLines
from silo_node.service.config import load_config, places
from silo_node.service.metrics import SiloMetrics
from silo_node.service.watched import Watched

HERE = Address("job-1", "sha256:plan", 3, 0)
SECRET = "/pacs/DOE^JANE/1.2.840.113619"


def metrics(connected: bool = True) -> SiloMetrics:
    return SiloMetrics("north", lambda: connected, lambda: 0.25)


@contextmanager
def page(readiness: dict[str, bool], text: bytes = b"metrics") -> Iterator[HealthPage]:
    with closing(HealthPage(0, lambda: readiness, lambda: text)) as served:
        yield served


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with closing(connection):
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_health_is_the_process_and_readiness_every_check() -> None:
    with page({"store": True, "broker": True}) as served:
        assert get(served.port, "/healthz") == (200, b"ok\n")
        assert json.loads(get(served.port, "/readyz")[1]) == {"ready": True, "store": True, "broker": True}
        assert get(served.port, "/metrics") == (200, b"metrics")
        assert get(served.port, "/etc/passwd")[0] == 404
    with page({"store": True, "broker": False}) as served:
        assert get(served.port, "/healthz")[0] == 200
        assert get(served.port, "/readyz")[0] == 503


def test_a_check_that_breaks_does_not_hold() -> None:
    def broken() -> dict[str, bool]:
        raise OSError(SECRET)

    with closing(HealthPage(0, broken, lambda: b"")) as served:
        status, body = get(served.port, "/readyz")
    assert status == 503
    assert SECRET.encode() not in body


def test_a_web_page_that_points_its_own_name_at_this_machine_reads_nothing() -> None:
    with page({"store": True}) as served:
        assert get(served.port, "/metrics", host="evil.example")[0] == 404
        assert get(served.port, "/metrics", host=f"localhost:{served.port}")[0] == 200


def test_a_port_that_is_taken_is_named() -> None:
    with page({}) as served, pytest.raises(InputError, match=str(served.port)):
        HealthPage(served.port, dict, lambda: b"")


def test_requests_are_counted_by_kind_and_outcome_and_the_reply_is_untouched() -> None:
    watch = metrics()
    replies = iter([encode(Done(HERE, 1.0)), encode(Refusal(HERE, "PlanError", "no")), b"not a release"])
    watched = Watched("north", lambda _: next(replies), watch)
    request = encode(Describe(HERE, b"{}"))
    assert isinstance(decode_release(watched(request)), Done)
    assert isinstance(decode_release(watched(request)), Refusal)
    assert watched(b"rubbish") == b"not a release"
    text = watch.page().decode()
    assert 'fedward_requests_total{kind="Describe",outcome="answered"} 1.0' in text
    assert 'fedward_requests_total{kind="Describe",outcome="refused"} 1.0' in text
    assert 'fedward_requests_total{kind="unknown",outcome="answered"} 1.0' in text
    assert "fedward_broker_connected 1.0" in text
    assert "fedward_budget_share_spent 0.25" in text
    assert "job-1" not in text


def test_the_log_holds_allowed_fields_and_of_foreign_records_no_text() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonLines())
    log = logging.getLogger("tests.json-lines")
    log.addHandler(handler)
    log.propagate = False
    log.setLevel(logging.INFO)
    try:
        log.warning("cannot read %s", SECRET)
        log.error("failed", exc_info=ValueError(SECRET))
        log.info("x", extra={"event": "request", "kind": "Train", "path": SECRET, "patient": SECRET, "seconds": 1.5})
        log.info("x", extra={"event": "request", "says": {"nested": SECRET}})
    finally:
        log.removeHandler(handler)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert SECRET not in out.getvalue()
    assert [line.get("event") for line in lines] == [None, None, "request", "request"]
    assert lines[2]["seconds"] == 1.5
    assert "Traceback" not in out.getvalue()


def test_the_log_for_people_holds_no_more() -> None:
    record = logging.LogRecord("x", logging.INFO, SECRET, 1, SECRET, None, None)
    assert SECRET not in TextLines().format(record)


def test_a_line_break_in_a_field_is_still_one_line() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 1, "", None, None)
    record.event, record.reason = "request", 'one\n{"event": "forged"}'
    assert "\n" not in JsonLines().format(record)
    assert "\n" not in TextLines().format(record)


def test_paths_of_a_configuration_are_beside_its_file_and_the_rest_beside_the_store(tmp_path: Path) -> None:
    path = tmp_path / "silo.yaml"
    path.write_text("kit: kit\nstore: stores/north\n")
    found = places(load_config(path), path.parent)
    assert found.store == tmp_path / "stores" / "north"
    assert found.policy == tmp_path / "stores" / "north.policy.yaml"
    assert found.ledger == tmp_path / "stores" / "north.ledger.jsonl"
    assert found.kit == tmp_path / "kit"


@pytest.mark.parametrize(
    ("text", "says"), [("kit: k\nstore: s\nstor: x\n", ":3: stor"), ("kit: k\n", "store"), ("[", "line 1")]
)
def test_a_wrong_configuration_is_named_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "silo.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        load_config(path)


def test_a_configuration_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"silo.yaml: No such file or directory; `fedward silo serve --new"):
        load_config(tmp_path / "silo.yaml")
    (tmp_path / "silo.yaml").write_bytes(b"kit: \xff")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        load_config(tmp_path / "silo.yaml")
