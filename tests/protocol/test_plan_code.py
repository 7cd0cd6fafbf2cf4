"""A plan that brings a Python module along: bound by the digest, read without being run."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.canonical import digest_bytes
from protocol.errors import PlanError
from protocol.plan import Plan, load_plan, parse_plan, plan_template
from protocol.plan.load import parse_canonical

MODULE = """\
from torch import nn

class Small(nn.Module):
    pass

def focal(logits, labels):
    return logits.mean()
"""


def with_code(folder: Path, module: str = MODULE, extra: str = "", **names: str) -> Path:
    """A plan.yaml in `folder` with its module beside it; `names` replaces the network's name or names the loss."""
    text = plan_template()
    text = text.replace("name: Classifier", f"name: {names.get('network', 'code.Small')}", 1)
    if "loss" in names:
        text = text.replace("name: cross_entropy", f"name: {names['loss']}", 1)
        text = text.replace('name: "cross_entropy"', f"name: {names['loss']}", 1)
    text = "\n".join(line for line in text.splitlines() if not line.startswith("code:")) + f"\ncode:\n  file: mine.py\n{extra}"
    (folder / "mine.py").write_bytes(module.encode())
    (folder / "plan.yaml").write_text(text)
    return folder / "plan.yaml"


def test_the_module_s_whole_text_is_in_the_plan_and_travels_with_it(tmp_path: Path) -> None:
    plan = load_plan(with_code(tmp_path))
    assert plan.code is not None
    assert plan.code.source == MODULE
    assert plan.code.sha256 == digest_bytes(MODULE.encode())
    assert plan.runs_code
    assert parse_canonical(plan.canonical).digest == plan.digest


def test_one_changed_letter_of_the_module_is_another_plan(tmp_path: Path) -> None:
    first = load_plan(with_code(tmp_path))
    second = load_plan(with_code(tmp_path, MODULE.replace("mean", "sum")))
    assert first.digest != second.digest


def test_a_text_that_is_not_what_its_digest_says_is_refused(tmp_path: Path) -> None:
    plan = load_plan(with_code(tmp_path))
    changed = plan.canonical.replace(b"logits.mean", b"logits.sums")
    with pytest.raises(PlanError, match="sha256"):
        parse_canonical(changed)
    with pytest.raises(PlanError, match="sha256"):
        load_plan(with_code(tmp_path, extra=f"  sha256: sha256:{'0' * 64}\n"))


def test_reading_a_plan_runs_nothing_of_its_module(tmp_path: Path) -> None:
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    plan = load_plan(with_code(tmp_path, trap + MODULE))
    Plan.model_validate_json(plan.canonical)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("module", "names", "says"),
    [
        (MODULE, {"network": "code.Large"}, "defines no Large at its top level; it defines Small, focal"),
        (MODULE, {"loss": "code.dice"}, "defines no dice"),
        ("class Small(:\n", {}, "line 1: not Python"),
        ("(" * 5000 + ")" * 5000, {}, "mine.py"),
        ("x = " + "9" * 5000, {}, "mine.py"),
        ("x = 1\0", {}, "mine.py|null"),
        ("", {}, "source: .*empty|code.*empty"),
        ("#" * 100_001, {}, "100000"),
        (MODULE, {"network": "code.os.system"}, "not an allowed network"),
    ],
)
def test_a_module_without_what_the_plan_names_is_explained(
    tmp_path: Path, module: str, names: dict[str, str], says: str
) -> None:
    with pytest.raises(PlanError, match=says):
        load_plan(with_code(tmp_path, module, **names))


def test_code_that_nothing_uses_and_names_without_code_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"neither network\.name nor training\.loss\.name"):
        load_plan(with_code(tmp_path, network="Classifier"))
    with pytest.raises(PlanError, match=r"name one in code\.file"):
        parse_plan(plan_template().replace("name: Classifier", "name: code.Small", 1))


def test_a_missing_module_or_one_in_another_folder_is_named(tmp_path: Path) -> None:
    path = with_code(tmp_path)
    (tmp_path / "mine.py").unlink()
    with pytest.raises(PlanError, match=r"mine\.py cannot be read beside the plan"):
        load_plan(path)
    path.write_text(path.read_text().replace("file: mine.py", "file: ../mine.py"))
    with pytest.raises(PlanError, match=r"code\.file"):
        load_plan(path)


def test_a_plan_without_a_path_must_bring_the_text_along() -> None:
    text = plan_template().replace("name: Classifier", "name: code.Small", 1)
    with pytest.raises(PlanError, match=r"code.*(source|empty)"):
        parse_plan("\n".join(line for line in text.splitlines() if not line.startswith("code:")) + "\ncode: {file: mine.py}\n")
