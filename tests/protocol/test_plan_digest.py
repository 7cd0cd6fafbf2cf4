from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from protocol.plan import parse_plan, plan_template
from tests.conftest import tiny_plan


def test_the_written_example_is_a_valid_plan_that_names_every_key() -> None:
    text = plan_template()
    plan = parse_plan(text)
    for section, value in plan.to_json().items():
        assert section in text
        if isinstance(value, dict):
            assert all(f"{key}:" in text for key in value)


def test_the_digest_depends_on_meaning_not_on_writing() -> None:
    text = plan_template()
    plan = parse_plan(text)
    without_comments = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert parse_plan(without_comments).digest == plan.digest
    assert parse_plan(text.replace("mu: 0.01", "mu: 1e-2")).digest == plan.digest
    assert parse_plan(plan.canonical.decode()).digest == plan.digest


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"training.mu": 0.2}, {"task.classes": ["1", "0"]}, {"federation.rounds": 4}, {"data.augmentation": []}],
)
def test_any_change_of_meaning_changes_the_digest(change: dict[str, object]) -> None:
    assert tiny_plan(**change).digest != tiny_plan().digest


def test_a_plan_cannot_be_changed_after_it_was_read() -> None:
    plan = tiny_plan()
    with pytest.raises(ValidationError, match="frozen"):
        plan.training.mu = 5.0  # type: ignore[misc]


def test_the_documented_reference_is_the_schema_s() -> None:
    from protocol.plan.reference import reference

    page = Path(__file__).parents[2] / "docs" / "plan.md"
    assert page.read_text(encoding="utf-8") == reference(), "run: python -m protocol.plan.reference > docs/plan.md"
