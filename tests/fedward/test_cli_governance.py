"""What researchers write, as the commands print it: text, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("syft_rds")

from fedward.cli import silo_governance
from protocol.errors import ApprovalError, PolicyError
from protocol.governance.submission import pack
from protocol.identity import Identity
from protocol.plan import Plan
from tests.silo_node.governance.test_office import Story, a_plan
from tests.silo_node.governance.test_program import MODULE, coded_plan


@pytest.mark.parametrize("command", ["requests", "show"])
def test_markup_and_control_characters_are_printed_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    story, key = Story(tmp_path), Identity.open(tmp_path / "alice.key")
    plan = a_plan().model_copy(update={"title": "[/] x"})
    note = "\x1b[2Jnothing to see"
    files = pack(plan, key, researcher="alice", hospital="north", cohort="", note=note, at="[/]")
    request = story.office._book.take_up("job", "alice@demo.invalid", files)
    opened = silo_governance.Opened(story.office, story.keys["north"])
    monkeypatch.setattr(silo_governance, "open_office", lambda _: opened)
    if command == "show":
        silo_governance.show(request.digest)
    else:
        silo_governance.requests(offline=True)
    said = capsys.readouterr().out
    assert "[/]" in said
    assert "\x1b[2J" not in said


def opened_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan) -> Story:
    """North's office with `plan` handed over, as the commands find it; ann's key is where --key says."""
    story = Story(tmp_path)
    files = pack(plan, story.keys["alice"], researcher="alice", hospital="north", cohort="", note="", at="2026-11-21T09:00:00Z")
    story.office._book.take_up("job", "alice@demo.invalid", files)
    opened = silo_governance.Opened(story.office, story.keys["north"])
    monkeypatch.setattr(silo_governance, "open_office", lambda _: opened)
    return story


def program_of(plan: Plan) -> str:
    """The digest of the plan's program."""
    assert plan.code is not None
    return plan.code.sha256


def test_a_program_is_shown_whole_and_approved_by_its_own_digest_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = coded_plan(MODULE + "# harmless \u202e\x1b[2J\n")
    story, key = opened_with(tmp_path, monkeypatch, plan), tmp_path / "ann.key"
    silo_governance.show(plan.digest)
    said = capsys.readouterr().out
    assert all(line in said for line in MODULE.splitlines())
    assert "# harmless [U+202E][U+001B][2J" in said
    assert ("\u202e" not in said, "\x1b[2J" not in said) == (True, True)
    (typed,) = re.findall(r"--code ([0-9a-f]{12})", said)
    for wrong in ("", typed[:8], plan.digest, "0" * 64):
        with pytest.raises(ApprovalError, match="silo show"):
            silo_governance.approve(plan.digest, "ann", key=key, code=wrong)
        assert story.office.approvals.standing(plan.digest).status == "pending"
    silo_governance.approve(plan.digest, "ann", key=key, code=typed)
    assert story.office.approvals.standing(plan.digest).status == "approved"


def test_where_the_policy_runs_no_programs_none_is_approved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = coded_plan()
    story, key = opened_with(tmp_path, monkeypatch, plan), tmp_path / "ann.key"
    story.policy = story.policy.model_copy(update={"custom_code": "refused"})
    monkeypatch.setattr(silo_governance, "open_office", lambda _: silo_governance.Opened(story.office, story.keys["north"]))
    with pytest.raises(PolicyError, match="custom_code: approved"):
        silo_governance.approve(plan.digest, "ann", key=key, code=program_of(plan))
    assert story.office.approvals.standing(plan.digest).status == "pending"
    silo_governance.reject(plan.digest, "ann", reason="not here", key=key)
    assert story.office.approvals.standing(plan.digest).status == "rejected"


def test_rejecting_a_program_asks_for_no_digest_and_a_plan_without_one_takes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story, key = opened_with(tmp_path, monkeypatch, a_plan()), tmp_path / "ann.key"
    with pytest.raises(ApprovalError, match="brings no program"):
        silo_governance.approve(a_plan().digest, "ann", key=key, code="0" * 64)
    (tmp_path / "other").mkdir()
    plan = coded_plan()
    story, key = opened_with(tmp_path / "other", monkeypatch, plan), tmp_path / "other" / "ann.key"
    silo_governance.reject(plan.digest, "ann", "not now", key=key)
    assert story.office.approvals.standing(plan.digest).status == "rejected"


def test_show_gives_the_program_and_the_lines_that_changed_as_json_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = coded_plan(), coded_plan(MODULE.replace("import torch\n", "import torch\nimport ctypes\n"))
    story = opened_with(tmp_path, monkeypatch, first)
    files = pack(
        second, story.keys["alice"], researcher="alice", hospital="north", cohort="", note="", at="2026-11-21T10:00:00Z"
    )
    story.office._book.take_up("job", "alice@demo.invalid", files)
    silo_governance.approve(first.digest, "ann", key=tmp_path / "ann.key", code=program_of(first))
    capsys.readouterr()
    silo_governance.show(second.digest, json_=True)
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert second.code is not None
    assert facts["program"]["source"] == second.code.source
    assert any("ctypes" in one for one in facts["program"]["look_twice"])
    (source,) = [one for one in facts["differs"]["changes"] if one["key"] == "code.source"]
    assert "+import ctypes" in source["lines"]


def test_one_letter_changed_after_the_approval_is_a_plan_that_the_hospital_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = coded_plan()
    story = opened_with(tmp_path, monkeypatch, plan)
    request = story.office.find(plan.digest)
    story.office.decide(request, "approve", "ann", story.keys["ann"], "", code=program_of(plan))
    assert story.office.approvals.require(plan.digest).startswith("sha256:")
    with pytest.raises(ApprovalError, match="not approved"):
        story.office.approvals.require(coded_plan(MODULE.replace("Müller", "Muller")).digest)
