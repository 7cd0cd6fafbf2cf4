"""`fedward silo import` and `show` say what happened, to people and to programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from dicom_phantoms import cohort, ensure_key
from typer.testing import CliRunner

from fedward.cli.silo import app
from protocol.errors import SourceError


def invoke(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def importing(folder: Path, *options: object) -> list[object]:
    source, labels = folder / "source", folder / "labels.csv"
    return ["import", source, "--labels", labels, "--store", folder / "store", "--key", folder / "key", *options]


@pytest.fixture
def folder(tmp_path) -> Path:
    cohort(tmp_path, 6)
    ensure_key(tmp_path / "key")
    (tmp_path / "source" / "notes.txt").write_text("x")
    return tmp_path


def test_an_import_ends_with_a_table_of_reasons_and_where_to_look(folder) -> None:
    result = invoke(*importing(folder))
    assert result.exit_code == 0
    for words in ("not_an_image", "6 samples of 3 patients from 7 files", "rejections.csv", "card.json", "7/7"):
        assert words in result.output


def test_the_last_line_is_json_on_request(folder) -> None:
    result = invoke(*importing(folder, "--json"))
    summary = json.loads(result.stdout.splitlines()[-1])
    assert (summary["n_files"], summary["n_samples"], summary["rejected"]) == (7, 6, {"not_an_image": 1})
    assert summary["digest"].startswith("sha256:")
    shown = json.loads(invoke("show", folder / "store", "--json").stdout)
    assert shown["digest"] == summary["digest"]
    assert shown["card"]["n_samples"] == 6


def test_the_data_card_is_readable_and_markup_in_values_is_harmless(folder) -> None:
    labels = folder / "labels.csv"
    labels.write_text(labels.read_text().replace(",train", ",[/bold]"))
    assert invoke(*importing(folder)).exit_code == 0
    result = invoke("show", folder / "store")
    assert result.exit_code == 0
    for words in ("label finding", "[/bold]", "patients by sex", "ACME", "hospital-internal"):
        assert words in result.output


def test_errors_are_typed_for_the_front_door_to_show(folder) -> None:
    (folder / "labels.csv").write_text("PatientID,y\nnobody,1\n")
    result = invoke(*importing(folder))
    assert isinstance(result.exception, SourceError)


@pytest.mark.parametrize("module", ["fedward.cli.silo", "silo_node.cohort"])
def test_importing_the_front_is_light(module) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'pydicom', 'PIL', 'monai', 'rich.table') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
