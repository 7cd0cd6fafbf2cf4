"""`fedward audit report` and `compare` on a real run: what they write, what they find, what they exit with."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from protocol.identity import Identity
from tests.conftest import TINY, tiny_store
from tests.fedward.test_cli import fedward

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a small audited run left."""
    folder = tmp_path_factory.mktemp("audited")
    plan = TINY | {"evaluation": {"audit": {"attributes": ["sex"], "bins": 16}}}
    (folder / "plan.yaml").write_text(json.dumps(plan))
    for seed, name in enumerate(("north", "south")):
        tiny_store(folder / name, seed=seed, n=240, sex="F" if seed else "M")
    silos = [f"--silo={name}={folder / name}" for name in ("north", "south")]
    done = fedward("run", folder / "plan.yaml", *silos, "--out", folder / "out", "--accept-no-dp")
    assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


def asked(out: Path, *more: str | Path) -> tuple[int, dict[str, object]]:
    done = fedward("audit", "report", out, "--json", *more)
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def said(found: dict[str, object]) -> str:
    return json.dumps(found["reasons"])


def test_the_page_is_made_again_and_the_evidence_checked(out: Path) -> None:
    page, content = (out / "report.html").read_bytes(), (out / "report.json").read_bytes()
    (out / "report.html").unlink()
    code, found = asked(out)
    assert (out / "report.html").read_bytes() == page
    assert (out / "report.json").read_bytes() == content
    assert code == found["exit_code"] in (0, 1, 2)
    assert "evidence: every check holds" in said(found)
    assert found["own_keys"] is True


def test_the_job_s_own_folder_and_the_file_itself_will_do(out: Path) -> None:
    assert asked(out / "job") == asked(out) == asked(out / "report.json")


def test_a_changed_figure_is_an_integrity_failure(out: Path) -> None:
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    report["audit"]["classes"][0]["groups"][0]["auroc"]["value"] = 0.99
    (out / "report.json").write_text(json.dumps(report))
    code, found = asked(out)
    assert code == 3
    assert '"evidence: ' in said(found)


def test_without_evidence_or_keys_nothing_passes(out: Path) -> None:
    (out / "evidence" / "site-keys.json").rename(out / "keys.json")
    code, found = asked(out)
    assert code in (1, 2)
    assert "no keys: give the hospitals' public keys with --keys" in said(found)
    code, found = asked(out, "--keys", out / "keys.json")
    assert found["own_keys"] is False
    shutil.rmtree(out / "evidence")
    assert "there is no evidence/ beside the report" in said(asked(out)[1])


def test_a_lost_report_is_made_again_from_the_journal_and_its_evidence_holds(out: Path) -> None:
    before = json.loads((out / "report.json").read_text(encoding="utf-8"))
    (out / "report.json").unlink()
    _, found = asked(out)
    after = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert after | {"generated_at": ""} == before | {"generated_at": ""}
    assert "evidence: every check holds" in said(found)


def test_evidence_that_others_know_the_signer_of_is_not_signed_with_another_key(out: Path) -> None:
    keys = json.loads((out / "evidence" / "site-keys.json").read_text(encoding="utf-8"))
    (out / "evidence" / "site-keys.json").unlink()
    (out / "report.json").unlink()
    done = fedward("audit", "report", out)
    assert done.returncode == 2
    assert "--identity" in done.stderr
    assert fedward("audit", "report", out, "--identity", out / "none.key").returncode == 8
    assert not (out / "none.key").exists()
    keys["aggregator"] = Identity.open(out / "aggregator.key").public_key.hex()
    (out / "keys.json").write_text(json.dumps(keys))
    assert "evidence: every check holds" in said(
        asked(out, "--identity", out / "aggregator.key", "--keys", out / "keys.json")[1]
    )


def test_a_job_that_is_not_finished_is_refused(out: Path, tmp_path: Path) -> None:
    (out / "report.json").unlink()
    with closing(sqlite3.connect(out / "job" / "journal.sqlite", isolation_level=None)) as journal:
        journal.execute("DELETE FROM rounds WHERE round = 3")
    done = fedward("audit", "report", out)
    assert done.returncode == 5
    assert "is not finished" in done.stderr
    done = fedward("audit", "report", tmp_path)
    assert done.returncode == 2
    assert "holds no job" in done.stderr


def test_a_job_beside_itself_shows_no_difference(out: Path) -> None:
    done = fedward("audit", "compare", out, out, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["same_patients"] is True
    assert found["plan"] == []
    assert found["figures"]
    assert "higher" not in {row["verdict"] for row in found["figures"]}
    assert "The plans are the same." in done.stderr


def test_a_report_of_another_version_is_not_compared(out: Path, tmp_path: Path) -> None:
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    (tmp_path / "other.json").write_text(json.dumps(report | {"schema_version": "fedward.report/9"}))
    done = fedward("audit", "compare", out, tmp_path / "other.json")
    assert done.returncode == 7
    assert "schema_version" in done.stderr
