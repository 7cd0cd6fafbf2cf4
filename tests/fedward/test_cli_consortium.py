"""`fedward consortium` and `fedward silo join` as people use them: from nothing to members that come and go."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aggregator.consortium.office import Office
from fedward.cli import app
from protocol.consortium.folder import PartyFolder, ready
from protocol.errors import ConsortiumError, TrustError
from tests.aggregator.consortium.brokers import Broker, free_port


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything happens in one folder, with the names that are taken where none is given."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*words: object) -> Any:
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, [str(word) for word in words])


def told(*words: object) -> dict[str, Any]:
    """The JSON of a command that must succeed."""
    done = invoke(*words, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def init() -> dict[str, Any]:
    port = free_port()
    listen = ("--listen", f"127.0.0.1:{port}", "--monitor-port", free_port(), "--storage-gb", 0.2)
    return told("consortium", "init", "thorax", "--url", f"tls://127.0.0.1:{port}", *listen)


def ask(name: str, *more: object) -> dict[str, Any]:
    return told("silo", "join", name, "--folder", f"at-{name}", *more)


def add(name: str) -> dict[str, Any]:
    return told("consortium", "add-silo", f"{name}.request.json", "--fingerprint", ask(name)["fingerprint"])


def install(name: str, *more: object) -> dict[str, Any]:
    return told("silo", "join", "--kit", f"consortium/kits/{name}.kit.json", "--folder", f"at-{name}", *more)


@pytest.mark.parametrize("command", [["consortium"], ["consortium", "init"], ["consortium", "rotate"], ["silo", "join"]])
def test_help_loads_neither_cryptography_nor_anything_heavy(command: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['fedward', *{command!r}, '--help']\n"
        "import fedward.__main__ as m\n"
        "try: m.main()\n"
        "except SystemExit as e: assert not e.code\n"
        "heavy = {'torch', 'numpy', 'cryptography', 'msgspec', 'nats'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_three_hospitals_join_and_hold_the_same_roster(desk: Path) -> None:
    coordinator = init()["coordinator_fingerprint"]
    for name in ("north", "south", "west"):
        add(name)
    seen = [install(name, "--fingerprint", coordinator) for name in ("north", "south", "west")]
    assert {entry["sequence"] for entry in seen} == {4}
    assert len({entry["roster_fingerprint"] for entry in seen}) == 1
    assert [list(entry["members"]) for entry in seen] == [["north", "south", "west"]] * 3
    shown = told("consortium", "show")
    assert shown["roster_fingerprint"] == seen[0]["roster_fingerprint"]
    assert {silo["name"]: silo["identity_fingerprint"] for silo in shown["silos"]} == seen[0]["members"]
    assert ready(PartyFolder(desk / "at-north"))[0] == "north"


def test_what_people_read_names_the_next_step(desk: Path) -> None:
    init()
    asked = invoke("silo", "join", "north", "--folder", "at-north")
    for words in ("send it to the coordinator", "public keys only", "read it out", "--kit"):
        assert words in asked.output
    fingerprint = asked.output.split("Fingerprint  ")[1].split(":")[0]
    added = invoke("consortium", "add-silo", "north.request.json", "--fingerprint", fingerprint)
    assert "north belongs to thorax. Send it" in added.output
    assert "does not run here" in added.output
    shown = invoke("consortium", "show").output
    for words in ("north", "active", "Fingerprint of the coordinator", "CA until"):
        assert words in shown


def test_nothing_is_done_when_the_fingerprints_differ_or_nobody_compares(desk: Path) -> None:
    coordinator = init()["coordinator_fingerprint"]
    ask("north")
    wrong = " ".join(["0000"] * 8)
    request = ("consortium", "add-silo", "north.request.json")
    assert isinstance(invoke(*request, "--fingerprint", wrong).exception, TrustError)
    assert isinstance(invoke(*request).exception, ConsortiumError)
    assert told("consortium", "show")["silos"] == []
    add("north")
    kit = ("silo", "join", "--folder", "at-north", "--kit", "consortium/kits/north.kit.json")
    assert isinstance(invoke(*kit, "--fingerprint", wrong).exception, TrustError)
    assert isinstance(invoke(*kit).exception, ConsortiumError)
    assert not (desk / "at-north" / "roster.json").exists()
    install("north", "--fingerprint", coordinator)


def test_the_kit_of_another_hospital_is_called_that() -> None:
    coordinator = init()["coordinator_fingerprint"]
    add("north")
    add("south")
    kit = ("silo", "join", "--folder", "at-north", "--kit", "consortium/kits/south.kit.json", "--fingerprint", coordinator)
    refused = invoke(*kit).exception
    assert isinstance(refused, TrustError)
    assert str(refused).startswith("this is the kit of south, not of north.")


def test_a_coordinator_who_answers_no_at_the_keyboard_adds_nobody(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init()
    ask("north")
    monkeypatch.setattr("fedward.cli.telephone._somebody_is_here", lambda: True)
    runner = CliRunner()
    refused = runner.invoke(app, ["consortium", "add-silo", "north.request.json"], input="n\n")
    assert isinstance(refused.exception, TrustError)
    taken = runner.invoke(app, ["consortium", "add-silo", "north.request.json"], input="y\n")
    assert taken.exit_code == 0
    assert [silo["name"] for silo in told("consortium", "show")["silos"]] == ["north"]


def test_members_come_renew_and_go_while_the_broker_runs(desk: Path) -> None:
    coordinator = init()["coordinator_fingerprint"]
    with Broker(Office(desk / "consortium")):
        for count, name in enumerate(("north", "south"), start=1):
            assert add(name)["broker"]["accounts"] == count
            install(name, "--fingerprint", coordinator)
        ask("north", "--renew")
        rotated = told("consortium", "rotate", "north", "--request", "north.request.json")  # its identity vouches for it
        assert rotated["silos"][0]["former_keys"] == 1
        assert install("north")["sequence"] == 4  # the coordinator is known by now
        assert told("consortium", "rotate", "north", "--finish")["silos"][0]["former_keys"] == 0
        assert told("consortium", "rotate", "broker")["broker"]["accounts"] == 2
        assert told("consortium", "rotate", "aggregator")["aggregator"]["former_keys"] == 1
        removed = told("consortium", "remove-silo", "south")
        assert [silo["state"] for silo in removed["silos"]] == ["active", "revoked"]
        assert removed["broker"]["accounts"] == 1
        assert told("consortium", "reload")["broker"]["accounts"] == 1


def test_a_new_identity_under_an_old_name_is_compared_by_telephone(desk: Path) -> None:
    init()
    add("north")
    asked = told("silo", "join", "north", "--folder", "new-keys", "--out", "again.json")
    rotate = ("consortium", "rotate", "north", "--request", "again.json")
    assert isinstance(invoke(*rotate).exception, ConsortiumError)
    assert told(*rotate, "--fingerprint", asked["fingerprint"])["sequence"] == 3


def test_an_older_kit_and_a_kit_of_another_are_refused(desk: Path) -> None:
    coordinator = init()["coordinator_fingerprint"]
    add("north")
    (desk / "old.json").write_bytes((desk / "consortium/kits/north.kit.json").read_bytes())
    add("south")
    install("north", "--fingerprint", coordinator)
    for kit in ("old.json", "consortium/kits/south.kit.json", "north.request.json"):
        done = invoke("silo", "join", "--folder", "at-north", "--kit", kit)
        assert isinstance(done.exception, TrustError), kit


def test_a_request_is_not_written_over_another_file(desk: Path) -> None:
    (desk / "north.request.json").write_text("{}")
    assert isinstance(invoke("silo", "join", "north").exception, ConsortiumError)
    assert (desk / "north.request.json").read_text() == "{}"


def test_a_kit_is_written_again_and_never_over_a_file(desk: Path) -> None:
    init()
    add("north")
    told("consortium", "kit", "north", "--out", "copy.json")
    assert (desk / "copy.json").read_bytes() == (desk / "consortium/kits/north.kit.json").read_bytes()
    assert invoke("consortium", "kit", "north", "--out", "copy.json").exception.exit_code == 2
    assert invoke("consortium", "kit", "nobody").exception.exit_code == 2


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["consortium", "show"], 2, "fedward consortium init"),
        (["consortium", "init", "thorax", "--url", "nats://x:1"], 2, "tls://HOST:PORT"),
        (["consortium", "init", "Thorax", "--url", "tls://x:1"], 2, "consortium"),
        (["consortium", "add-silo", "none.json"], 2, "cannot be read"),
        (["silo", "join", "broker"], 2, "kept for the consortium"),
        (["silo", "join"], 2, "fedward silo join NAME"),
        (["silo", "join", "--kit", "none.json", "--renew"], 2, "without --renew"),
    ],
)
def test_errors_are_one_message_with_an_exit_code(desk: Path, words: list[str], code: int, says: str) -> None:
    done = subprocess.run([sys.executable, "-m", "fedward", *words], capture_output=True, text=True, cwd=desk, check=False)
    assert (done.returncode, says in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr
