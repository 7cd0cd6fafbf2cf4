"""`fedward audit verify` as an auditor uses it: real processes, exit codes, names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from protocol.evidence import bundle as names
from protocol.vectors import load_tensors, save_tensors
from tests.evaluation.verify.jobs import OPEN, Case, case
from tests.fedward.test_cli import fedward


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(OPEN, tmp_path_factory.mktemp("job"))


@pytest.fixture
def out(job: Case, tmp_path: Path) -> Path:
    shutil.copytree(job.folder / "out-0" / "evidence", tmp_path / "out" / "evidence")
    shutil.copy(job.folder / "out-0" / "report.json", tmp_path / "out" / "report.json")
    shutil.copy(job.folder / "out-0" / "evidence" / names.KEYS, tmp_path / "keys.json")  # by another way
    return tmp_path / "out"


def test_evidence_that_holds_exits_with_0_and_compares_the_report_beside_it(out: Path) -> None:
    done = fedward("audit", "verify", out / "evidence", "--keys", out.parent / "keys.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "This evidence holds." in done.stdout
    assert "report.json is signed, and says what follows from the evidence" in done.stdout
    assert "The keys lie in the bundle itself" not in done.stdout
    own = fedward("audit", "verify", out / "evidence", "--keys", out / "evidence" / names.KEYS)
    assert own.returncode == 0
    assert "The keys lie in the bundle itself" in own.stdout


def test_what_is_broken_exits_with_3_and_is_named_with_its_place(out: Path) -> None:
    path = out / "evidence" / names.RECEIPTS / "s2.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    done = fedward("audit", "verify", out / "evidence", "--keys", out.parent / "keys.json", "--json")
    assert done.returncode == 3
    assert "This evidence does not hold" in done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["sound"] is False
    (found,) = (one for one in said["findings"] if (one["check"], one["who"]) == ("receipts", "s2"))
    assert "some were left out" in found["what"]


def test_a_changed_report_exits_with_3(out: Path) -> None:
    path = out / "report.json"
    path.write_text(path.read_text().replace('"n_sites": 4', '"n_sites": 5', 1))
    assert fedward("audit", "verify", out / "evidence", "--keys", out.parent / "keys.json").returncode == 3


@pytest.fixture
def whole(job: Case, out: Path) -> Path:
    """With the page and the model's file, as a run leaves them."""
    for name in ("report.html", "model.safetensors"):
        shutil.copy(job.folder / "out-0" / name, out / name)
    return out


def test_the_page_and_the_model_beside_the_report_are_looked_at_too(whole: Path) -> None:
    done = fedward("audit", "verify", whole / "evidence", "--keys", whole.parent / "keys.json")
    assert done.returncode == 0, done.stdout
    said = " ".join(done.stdout.split())
    assert "report.html is the page of this report.json" in said
    assert "model.safetensors beside the report is the final model" in said


def test_a_page_that_was_edited_alone_exits_with_3(whole: Path) -> None:
    page, value = whole / "report.html", json.loads((whole / "report.json").read_text())["performance"]["global"]["auroc"]
    was = f"{value['value']:.3f}"
    assert was in page.read_text()
    page.write_text(page.read_text().replace(was, "0.999"))
    done = fedward("audit", "verify", whole / "evidence", "--keys", whole.parent / "keys.json")
    assert done.returncode == 3
    assert "report.html does not say what report.json says" in " ".join(done.stdout.split())
    assert fedward("audit", "report", whole, "--keys", whole.parent / "keys.json").returncode != 3  # it makes the page again
    assert fedward("audit", "verify", whole / "evidence", "--keys", whole.parent / "keys.json").returncode == 0


def test_a_page_that_is_drawn_otherwise_is_named_and_not_called_broken(whole: Path) -> None:
    page = whole / "report.html"
    page.write_text(page.read_text().replace("<path ", '<path stroke-linejoin="miter" ', 1))
    done = fedward("audit", "verify", whole / "evidence", "--keys", whole.parent / "keys.json")
    assert done.returncode == 0, done.stdout
    assert "not the same bytes" in " ".join(done.stdout.split())


def test_another_model_beside_the_report_exits_with_3(whole: Path) -> None:
    path = whole / "model.safetensors"
    with safe_open(path, framework="numpy") as opened:
        metadata = opened.metadata()
    tensors = load_tensors(path)
    name = json.loads(metadata["order"])[0]
    save_tensors(path, {**tensors, name: tensors[name] * np.float32(1.5)}, metadata)  # it still says that it is the other
    done = fedward("audit", "verify", whole / "evidence", "--keys", whole.parent / "keys.json")
    assert done.returncode == 3
    assert "model.safetensors beside the report is another model" in " ".join(done.stdout.split())


def test_the_final_model_s_values_under_other_names_are_another_model(whole: Path) -> None:
    path = whole / "model.safetensors"
    with safe_open(path, framework="numpy") as opened:
        metadata = opened.metadata()
    tensors, order = load_tensors(path), json.loads(metadata["order"])
    one, other = next(
        (a, b)
        for a in order
        for b in order
        if a < b and tensors[a].shape == tensors[b].shape and not np.array_equal(tensors[a], tensors[b])
    )
    swapped = [{one: other, other: one}.get(name, name) for name in order]  # the vector, and its digest, stay the same
    save_tensors(path, {**tensors, one: tensors[other], other: tensors[one]}, {**metadata, "order": json.dumps(swapped)})
    done = fedward("audit", "verify", whole / "evidence", "--keys", whole.parent / "keys.json")
    assert done.returncode == 3, done.stdout
    assert "the final model's values under other names" in " ".join(done.stdout.split())


def test_without_the_restricted_files_it_says_what_was_not_checked(out: Path) -> None:
    shutil.rmtree(out / "evidence" / "restricted")
    done = fedward("audit", "verify", out / "evidence", "--keys", out.parent / "keys.json")
    assert done.returncode == 0, done.stdout
    assert "restricted/ is not here" in done.stdout


def test_what_is_no_bundle_or_no_file_of_keys_exits_with_2(out: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.json").write_text("{}")
    for bundle, keys in ((tmp_path / "empty", "keys.json"), (out / "evidence", "other.json"), (out / "evidence", "none.json")):
        done = fedward("audit", "verify", bundle, "--keys", out.parent / keys)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr


def test_a_report_of_another_release_s_formulas_exits_with_2_and_says_so(job: Case, out: Path) -> None:
    other, path = job.copy(), out / "report.json"
    other.put_report(lambda report: report.update(arithmetic=99))
    path.write_bytes(other.report)
    verify = ("audit", "verify", out / "evidence", "--keys", out.parent / "keys.json")
    assert fedward(*verify).returncode == 3  # nobody signed it
    other.sign_again()
    (out / "evidence" / names.INDEX).write_bytes(other.files[names.INDEX])
    done = fedward(*verify)
    assert done.returncode == 2
    assert "made with arithmetic 99; this release checks" in done.stderr
    assert "does not hold" not in done.stdout + done.stderr
    concluded = fedward("audit", "report", out, "--keys", out.parent / "keys.json")
    assert concluded.returncode == 2
    assert "evidence: not checked, report.json was made with arithmetic 99" in " ".join(concluded.stdout.split())


def test_officers_decisions_are_taken_by_site_and_what_is_no_file_is_refused(out: Path) -> None:
    keys, log = out.parent / "keys.json", out.parent / "decisions.jsonl"
    for wrong in ("s0", f"s0={log}"):
        done = fedward("audit", "verify", out / "evidence", "--keys", keys, "--decisions", wrong)
        assert done.returncode == 2
        assert "write SITE=FILE" in done.stderr
    log.write_bytes(b"")
    done = fedward("audit", "verify", out / "evidence", "--keys", keys, "--decisions", f"s0={log}")
    assert done.returncode == 0, done.stdout + done.stderr
