"""`fedward silo budget`: what was paid, what is left, and errors that say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedward.cli.silo import app
from privacy.ledger import Ledger
from protocol.errors import InputError, LedgerError
from tests.privacy.ledgers import SCORES, charge


def invoke(*words: object):
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, ["budget", *(str(word) for word in words)])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store's folder with its ledger beside it: two studies."""
    ledger = Ledger.create(tmp_path / "north.ledger.jsonl", "north")
    for job in ("job-1 [bold]", "job-2"):
        for number in (1, 2, 3):
            charge(ledger, number, job=job)
        charge(ledger, release="scores/3/federated/validation", part="validation", event=SCORES, job=job)
    (tmp_path / "north").mkdir()
    return tmp_path / "north"


def test_a_store_and_its_ledger_say_the_same(store: Path) -> None:
    by_store, by_ledger = invoke(store), invoke(store.with_name("north.ledger.jsonl"))
    assert by_store.exit_code == 0, by_store.output
    assert by_store.stdout == by_ledger.stdout
    for words in (
        "cohort north",
        "job-1 [bold]",
        "30 steps, noise 2, sampling 0.1",
        "1 noised histogram of",
        "all studies together",
    ):
        assert words in by_store.stdout
    head = Ledger.open(store.with_name("north.ledger.jsonl")).head
    assert f"8 charges, {head.digest}" in by_store.stdout


def test_the_result_is_one_json_object_on_the_last_line(store: Path, tmp_path: Path) -> None:
    result = invoke(store, "--json", "--max-epsilon", "20", "--delta", "1e-5", "--plot", tmp_path / "spent.svg")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["delta"] == 1e-5
    assert [study["job"] for study in value["studies"]] == ["job-1 [bold]", "job-2"]
    assert value["studies"][0]["epsilon"] < value["epsilon"] < 20
    assert 0 < value["limit"]["share_spent"] < 1
    assert 0 < value["limit"]["epsilon_left"] < 20
    assert value["head"]["entries"] == 8
    assert (tmp_path / "spent.svg").read_text().startswith("<?xml")


def test_a_spent_budget_says_so(store: Path) -> None:
    output = invoke(store, "--max-epsilon", "0.5").stdout
    assert "nothing is left" in output
    assert "limit" in output


def test_a_picture_of_an_empty_and_of_a_full_ledger(store: Path, tmp_path: Path) -> None:
    Ledger.create(tmp_path / "new.ledger.jsonl", "new $x$")
    for path in (store, tmp_path / "new.ledger.jsonl"):
        for name in ("a.png", "b.png"):
            assert invoke(path, "--plot", tmp_path / name, "--max-epsilon", "20").exit_code == 0
        assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert "Nothing has been charged" in invoke(tmp_path / "new.ledger.jsonl").stdout


def test_what_cannot_be_shown_is_a_ledger_error(store: Path, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.ledger.jsonl"):
        error = invoke(path).exception
        assert isinstance(error, LedgerError)
        assert error.exit_code == 8
        assert "restore" in str(error)
    ledger = store.with_name("north.ledger.jsonl")
    ledger.write_bytes(ledger.read_bytes().replace(b"round/2", b"round/9"))
    error = invoke(store).exception
    assert isinstance(error, LedgerError)
    assert "line 3 does not verify" in str(error)


@pytest.mark.parametrize("name", ["picture.pdf", "no-folder/picture.png"])
def test_a_picture_that_cannot_be_written_is_an_input_error(store: Path, tmp_path: Path, name: str) -> None:
    assert isinstance(invoke(store, "--plot", tmp_path / name).exception, InputError)
