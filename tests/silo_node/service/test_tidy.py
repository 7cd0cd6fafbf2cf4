"""What is thrown away of jobs that are over, and that nothing of it lets an old request be answered or paid anew."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedward.cli.silo import app
from protocol.errors import InputError
from silo_node.service.tidy import leftovers, remove
from tests.conftest import PRIVATE, tiny_plan
from tests.silo_node.test_private_node import Hospital, refusal, update_of

DAY = 86_400.0


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    """One that answered two rounds of a private job a hundred days ago."""
    hospital = Hospital(tmp_path, tiny_plan(**PRIVATE))
    hospital.describe()
    for number in (1, 2):
        update_of(hospital.train(number))
    (job := hospital.state / "jobs" / "job-1").joinpath("secure.opened").write_text("1/0\n")
    (job / "secure.state").write_bytes(b"phase")
    (job / "alone.safetensors").write_bytes(bytes(5000))
    age(hospital.state, 100)
    return hospital


def age(folder: Path, days: float) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - days * DAY,) * 2)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_models_answers_and_pixels_go_and_whatever_protects_patients_stays(hospital: Hospital) -> None:
    before = tree(hospital.folder)
    for one in leftovers(hospital.state, 90.0):
        remove(one)
    after = tree(hospital.folder)
    gone = before.keys() - after.keys()
    assert {Path(name).suffix for name in gone} == {".safetensors", ".release", ".npy"}
    assert after.keys() - before.keys() == {"state/jobs/job-1/tidied"}
    assert {name: after[name] for name in before.keys() - gone} == {name: before[name] for name in before.keys() - gone}
    kept = {"plan.json", "secure.opened", "secure.state"}
    assert kept <= {Path(name).name for name in after}
    assert {"state/ledger.jsonl", "state/identity.key", "state/receipt.json"} <= after.keys()
    assert leftovers(hospital.state, 90.0) == []


def test_a_tidied_job_is_refused_by_name_and_charges_nothing(hospital: Hospital) -> None:
    charged = hospital.releases()
    for one in leftovers(hospital.state, 90.0):
        remove(one)
    hospital.fresh()
    for answer in (hospital.train(2), hospital.train(3), hospital.describe()):
        refusal(answer, "SiloError", "")
    assert hospital.releases() == charged
    hospital.describe(job="job-2")
    update_of(hospital.train(1, job="job-2"))  # another job makes its cache anew


def test_a_job_that_was_touched_lately_stays_as_a_whole(hospital: Hospital) -> None:
    (hospital.state / "jobs" / "job-1" / "plan.json").touch()
    assert [one.name.split()[0] for one in leftovers(hospital.state, 90.0)] == ["cache"]
    assert leftovers(hospital.state, 101.0) == []
    with pytest.raises(InputError, match="at least 1 day"):
        leftovers(hospital.state, 0.5)


def test_the_command_shows_first_and_removes_only_when_it_is_told(hospital: Hospital) -> None:
    config = hospital.folder / "silo.yaml"
    config.write_text("kit: kit\nstore: store\n")
    before = tree(hospital.folder)
    shown = CliRunner().invoke(app, ["tidy", str(config), "--json"])
    assert shown.exit_code == 0, shown.output
    facts = json.loads(shown.stdout.splitlines()[-1])
    assert not facts["removed"]
    assert sorted(one["name"].split()[0] for one in facts["leftovers"]) == ["cache", "job"]
    assert sum(one["bytes"] for one in facts["leftovers"]) > 5000
    assert tree(hospital.folder) == before
    assert "Nothing was removed" in CliRunner().invoke(app, ["tidy", str(config)]).output
    assert CliRunner().invoke(app, ["tidy", str(config), "--older-than", "101", "--remove"]).exit_code == 0
    assert tree(hospital.folder) == before
    assert CliRunner().invoke(app, ["tidy", str(config), "--remove"]).exit_code == 0
    assert tree(hospital.folder).keys() < before.keys() | {"state/jobs/job-1/tidied"}
