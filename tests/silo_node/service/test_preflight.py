"""What preflight says can be acted on: it names the file, and by how much the clock is wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.transport.nats import probe
from silo_node.service import checks
from silo_node.service.checks import Check
from silo_node.service.config import Places, SiloConfig, places
from silo_node.service.preflight import preflight
from tests.aggregator.consortium.brokers import Broker, connect, hospital, make_office, provision

OFFICER = f"officers: {{ann: '{'0' * 64}'}}\n"


@pytest.fixture
def where(tmp_path: Path) -> Places:
    return places(SiloConfig(kit="kit", store="stores/north"), tmp_path)


def checked(where: Places) -> dict[str, Check]:
    return {check.name: check for check in preflight(SiloConfig(kit="kit", store="stores/north"), where)}


def test_the_policy_that_is_missing_is_to_be_written_beside_the_store(where: Places) -> None:
    assert checked(where)["policy"].do.startswith(f"fedward silo policy {where.store.parent / 'north.policy.yaml'}; then")


def test_a_node_that_would_not_start_for_want_of_an_approver_is_not_ready(where: Places) -> None:
    where.policy.parent.mkdir(parents=True)
    where.policy.write_text("max_epsilon_per_study: 4.0\n")
    found = checked(where)["policy"]
    assert (found.verdict, "approval: officers" in found.do) == ("failed", True)
    where.policy.write_text("approval: local\n")
    assert checked(where)["policy"].verdict == "ok"


@pytest.mark.parametrize(
    ("policy", "why", "verdict", "says"),
    [
        ("approval: local\n", "no Landlock", "ok", "refused"),
        ("approval: officers\n" + OFFICER + "custom_code: approved\n", None, "ok", "officers approve"),
        ("approval: local\ncustom_code: approved\n", None, "warning", "nobody here reads them"),
        ("approval: local\ncustom_code: approved\n", "no Landlock", "failed", "no Landlock"),
    ],
)
def test_whether_programs_of_plans_can_be_kept_apart_is_known_before_one_comes(
    where: Places, monkeypatch: pytest.MonkeyPatch, policy: str, why: str | None, verdict: str, says: str
) -> None:
    monkeypatch.setattr(checks, "available", lambda: why)
    where.policy.parent.mkdir(parents=True)
    where.policy.write_text(policy)
    found = checked(where)["code"]
    assert (found.verdict, says in found.says) == (verdict, True)
    assert (found.verdict == "ok") == (found.do == "")


def test_a_folder_that_is_not_there_is_named(where: Places) -> None:
    assert checked(where)["disk"].says == f"{where.ledger.parent}: No such file or directory"


def test_an_error_that_says_what_to_do_is_not_told_to_be_mended(where: Places) -> None:
    store = checked(where)["store"]
    assert "fedward silo import" in store.says
    assert store.do == ""


@pytest.fixture(scope="module")
def visited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """A hospital whose broker runs, and has its inbox."""
    folder = tmp_path_factory.mktemp("visited")
    office = make_office(folder / "office")
    place = hospital(office, folder, "north")

    async def make() -> None:
        aggregator = await connect(office.aggregator, "aggregator")
        await provision(aggregator.jetstream(timeout=5), ["north"])
        await aggregator.close()

    with Broker(office):
        asyncio.run(make())
        yield places(SiloConfig(kit=str(place.folder), store="stores/north"), folder)


@pytest.mark.parametrize(("wrong_s", "says"), [(300.0, "ahead of"), (-300.0, "behind")])
def test_a_clock_that_is_five_minutes_from_the_brokers_is_seen(
    visited: Places, monkeypatch: pytest.MonkeyPatch, wrong_s: float, says: str
) -> None:
    now = time.time
    monkeypatch.setattr(probe.time, "time", lambda: now() + wrong_s)
    clock = checked(visited)["clock"]
    assert clock.verdict == "warning"
    seconds = float(clock.says.split(", ")[1].split(" s ")[0])
    assert seconds == pytest.approx(300.0, abs=2.0)
    assert says in clock.says
    assert "NTP" in clock.do


def test_a_clock_that_agrees_with_the_brokers_is_ok_whoever_keeps_it(visited: Places) -> None:
    found = checked(visited)
    assert (found["broker"].verdict, found["clock"].verdict) == ("ok", "ok")
    assert "the broker's" in found["clock"].says
