"""What researchers write, as the commands print it: text, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("syft_rds")

from fedward.cli import silo_governance
from protocol.governance.submission import pack
from protocol.identity import Identity
from tests.silo_node.governance.test_office import Story, a_plan


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
