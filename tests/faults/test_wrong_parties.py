"""A hospital with a wrong key, another consortium's kit, a corrupt store, a wrong clock, or asked with an old plan."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from aggregator.consortium import coordinator
from aggregator.consortium.office import Office
from aggregator.service.office import members_of
from protocol.consortium.files import read_public
from protocol.consortium.folder import PartyFolder, ready
from protocol.consortium.joining import install, join
from protocol.consortium.records import Kit, decode
from protocol.messages import Address, Advertised, Describe, PrivateDescription, Refusal, ShareSecrets, decode_release, encode
from protocol.plan import Plan
from protocol.transport.nats import NatsTransport
from protocol.transport.nats.kit import endpoint_of
from tests.faults.audit import audit
from tests.faults.cluster import Cluster, plan_of, wait_for

NAMES = ("north", "south", "east", "west")
SOON_S = 8.0
"""A hospital that is not there is waited for so long, in each request of a job."""


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four hospitals, of which three are enough; west is started by the tests."""
    made = Cluster(tmp_path_factory.mktemp("four"), NAMES, apart=("west",))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@contextmanager
def wrong(four: Cluster, path: Path) -> Iterator[None]:
    """West is down, and its `path` may be changed; afterwards it is as it was, and serves."""
    four.processes.stop("west")
    kept = path.with_name(f"{path.name}.kept")
    shutil.copytree(path, kept) if path.is_dir() else shutil.copy2(path, kept)
    try:
        yield
    finally:
        if four.processes.runs("west"):
            four.processes.stop("west")
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        kept.rename(path)
        four.processes.start("west", four.serve_command("west"))
        four.ready("west")


def kit(four: Cluster) -> PartyFolder:
    return PartyFolder(four.folder / "silos" / "west" / "kit")


def plan(**changes: object) -> Plan:
    return plan_of("local", **{"federation.rounds": 2, "federation.round_deadline_s": SOON_S, **changes})


def last_words(four: Cluster) -> str:
    """Of a west that ended by itself, with its exit code."""
    code = four.processes.ended("west")
    return f"{code} {four.processes.log('west').read_text().strip().splitlines()[-1]}"


def preflight(four: Cluster, *before: str) -> str:
    command = [*before, sys.executable, "-m", "fedward", "silo", "preflight", str(four.layout.configs["west"])]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120).stdout


def runs_without_west(four: Cluster) -> None:
    """The other three finish their job, and its record says that west was not there."""
    ticket = four.submit(plan())
    standing = four.wait(ticket, 120.0)
    assert standing.state == "done", standing.reason
    missing = audit(four, ticket).missing
    assert set(missing) == {1, 2}
    assert all(set(reasons) == {"west"} for reasons in missing.values())


def test_a_silo_with_another_silos_identity_does_not_start_and_says_so(four: Cluster) -> None:
    with wrong(four, kit(four).identity):
        shutil.copyfile(four.folder / "silos" / "south" / "kit" / "identity.key", kit(four).identity)
        four.processes.start("west", four.serve_command("west"))
        said = last_words(four)
        assert said.startswith("8 TrustError"), said
        runs_without_west(four)


def test_a_silo_with_the_kit_of_another_consortium_is_never_let_in_and_both_its_log_and_preflight_say_why(
    four: Cluster, tmp_path: Path
) -> None:
    other = Office(tmp_path / "other")
    url = four.layout.office.roster().url
    coordinator.found(other, "other", url, four.layout.office.settings())
    place = PartyFolder(tmp_path / "west")
    coordinator.admit(other, join(place, "west"))
    install(place, "west", decode(read_public(other.kit_path("west")), Kit), other.roster().coordinator)
    with wrong(four, kit(four).folder):
        shutil.rmtree(kit(four).folder)
        shutil.copytree(place.folder, kit(four).folder)
        four.processes.start("west", four.serve_command("west"))
        why = lambda: [line for line in four.log_lines("west") if line.get("reason", "").startswith("unable to get")]  # noqa: E731
        wait_for(why, "the reason in the log", 60.0)
        said = preflight(four)
        assert "the kit is of another consortium" in said, said
        runs_without_west(four)


def test_a_silo_whose_store_has_one_wrong_byte_does_not_start_and_names_it(four: Cluster) -> None:
    pixels = four.folder / "stores" / "west" / "pixels.bin"
    with wrong(four, pixels):
        data = bytearray(pixels.read_bytes())
        data[len(data) // 2] ^= 1
        pixels.write_bytes(data)
        four.processes.start("west", four.serve_command("west"))
        said = last_words(four)
        assert said.startswith("3 StoreCorruptError"), said
        assert "pixels.bin" in preflight(four)
        runs_without_west(four)


def wrong_clock(skew: str) -> list[str]:
    """What goes before a command. `faketime` itself would stay as its parent, and keep a signal from it."""
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed here")
    shown = subprocess.run(["faketime", "-f", skew, "env"], capture_output=True, text=True, check=True).stdout
    library = next(line for line in shown.splitlines() if line.startswith("LD_PRELOAD="))
    return ["env", library, f"FAKETIME={skew}"]


@pytest.mark.parametrize("skew", ["+300s", "-300s"])
def test_a_silo_whose_clock_is_five_minutes_wrong_takes_part_as_if_it_were_right_and_preflight_says_by_how_much(
    four: Cluster, skew: str
) -> None:
    with wrong(four, kit(four).url):
        said = " ".join(preflight(four, *wrong_clock(skew)).split())
        assert re.search(rf"(299|300|301)\.. s {'ahead of' if skew[0] == '+' else 'behind'} the broker's", said), said
        four.processes.start("west", [*wrong_clock(skew), *four.serve_command("west")])
        four.ready("west")
        ticket = four.submit(plan(**{"federation.round_deadline_s": 60.0}))
        assert four.wait(ticket, 120.0).state == "done"
        assert not audit(four, ticket).missing
        said = datetime.fromisoformat(four.requests("west")[-1]["time"])
        assert abs((said - datetime.now(UTC)).total_seconds()) > 200  # its clock is wrong indeed


@contextmanager
def aggregator_in_person(four: Cluster) -> Iterator[NatsTransport]:
    """The test with the aggregator's keys, which may ask whatever it likes."""
    four.processes.stop("aggregator")
    office = four.layout.office
    name, roster = ready(office.aggregator)
    keys = {member.name: member.public_key for member in members_of(roster)}
    identity = office.aggregator.open_identity()
    transport = NatsTransport(endpoint_of(office.aggregator, name), identity, keys, consortium=roster.consortium)
    try:
        with closing(transport):
            yield transport
    finally:
        four.processes.again("aggregator")


def test_a_request_of_an_old_plan_is_refused_by_every_silo_and_charges_nothing(four: Cluster) -> None:
    new, old, job = plan(seed=5), plan(seed=4), "tiny-old-plan"
    before = {name: path.read_bytes() if path.exists() else b"" for name, path in four.ledgers.items()}
    with aggregator_in_person(four) as transport:

        def ask(message: object) -> dict[str, object]:
            replies = transport.exchange(dict.fromkeys(NAMES, encode(message)), 30.0)  # type: ignore[arg-type]
            return {name: decode_release(reply) for name, reply in replies if isinstance(reply, bytes)}

        here = Address(job, new.digest, 0, 0)
        assert all(isinstance(one, PrivateDescription) for one in ask(Describe(here, new.canonical)).values())
        described_again = ask(Describe(Address(job, old.digest, 0, 0), old.canonical))
        asked = ask(ShareSecrets(Address(job, old.digest, 1, 0), ()))
        unknown = ask(ShareSecrets(Address("tiny-never-described", new.digest, 1, 0), ()))
        mixed = ask(Describe(msgspec.structs.replace(here, plan_digest=old.digest), new.canonical))
    for replies, reason in (
        (described_again, "another plan before"),
        (asked, "names another plan"),
        (unknown, "never described"),
        (mixed, "not the one in the request's address"),
    ):
        assert set(replies) == set(NAMES)
        for reply in replies.values():
            assert isinstance(reply, Refusal), reply
            assert not isinstance(reply, Advertised)
            assert reason in reply.reason
    assert {name: path.read_bytes() if path.exists() else b"" for name, path in four.ledgers.items()} == before
