"""A silo node starts nothing for a plan with a program unless its policy lets programs run and this very text was approved."""

from __future__ import annotations

from pathlib import Path

import pytest

from privacy.sandbox import Sandbox
from protocol.canonical import digest_bytes
from protocol.messages import Address, Describe, Refusal, decode_release, encode
from protocol.plan import Plan
from silo_node.node import SiloNode
from tests.conftest import GENEROUS, MakeStore, tiny_plan
from tests.silo_node.governance.test_node_asks import Switch

SOURCE = "from torch import nn\n\n\nclass Small(nn.Linear):\n    pass\n"
APPROVAL = "sha256:" + "1" * 64


def with_program(source: str = SOURCE) -> Plan:
    code = {"file": "mine.py", "sha256": digest_bytes(source.encode()), "source": source}
    return tiny_plan(code=code, network={"name": "code.Small", "args": {}})


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the sandbox; nothing is to be."""
    asked: list[str] = []

    def fail(*_: object, **__: object) -> None:
        asked.append("a process")
        raise AssertionError("a process was started for a plan that may not run")

    monkeypatch.setattr(Sandbox, "__init__", fail)
    return asked


def ask(make_store: MakeStore, folder: Path, approvals: Switch, plan: bytes, digest: str, *, code: str) -> Refusal:
    policy = GENEROUS.model_copy(update={"custom_code": code})
    ledger = folder / "ledger.jsonl"
    node = SiloNode(
        "north", make_store("north"), folder / "state", policy=policy, ledger=ledger, approvals=approvals, device="cpu"
    )
    found = decode_release(node(encode(Describe(Address("job", digest, 0, 0), plan))))
    assert isinstance(found, Refusal)
    return found


def test_an_approved_program_does_not_run_where_the_policy_runs_none(
    make_store: MakeStore, tmp_path: Path, started: list[str]
) -> None:
    plan, approvals = with_program(), Switch()
    approvals.approved[plan.digest] = APPROVAL
    found = ask(make_store, tmp_path, approvals, plan.canonical, plan.digest, code="refused")
    assert (found.error, "custom_code" in found.reason, started) == ("PolicyError", True, [])


def test_a_program_that_nobody_approved_does_not_run(make_store: MakeStore, tmp_path: Path, started: list[str]) -> None:
    plan = with_program()
    found = ask(make_store, tmp_path, Switch(), plan.canonical, plan.digest, code="approved")
    assert (found.error, started) == ("ApprovalError", [])


@pytest.mark.parametrize("told", ["its own digest", "the approved digest"])
def test_one_letter_changed_after_the_approval_is_refused(
    make_store: MakeStore, tmp_path: Path, started: list[str], told: str
) -> None:
    plan, changed, approvals = with_program(), with_program(SOURCE.replace("pass", "Pass")), Switch()
    approvals.approved[plan.digest] = APPROVAL
    digest = plan.digest if told == "the approved digest" else changed.digest
    ask(make_store, tmp_path, approvals, changed.canonical, digest, code="approved")
    assert started == []


def test_a_changed_text_under_the_approved_text_s_digest_is_no_plan(
    make_store: MakeStore, tmp_path: Path, started: list[str]
) -> None:
    plan, approvals = with_program(), Switch()
    approvals.approved[plan.digest] = APPROVAL
    forged = plan.canonical.replace(b"pass", b"Pass")
    ask(make_store, tmp_path, approvals, forged, plan.digest, code="approved")
    assert started == []
