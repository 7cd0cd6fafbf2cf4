"""What counts as a plan that was handed over: whose it is, for whom, and that it is the one that was signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.errors import PlanError, TrustError
from protocol.governance.submission import COVER, PLAN, pack, unpack
from protocol.identity import Identity
from protocol.plan import Plan, parse_plan, plan_template

AT = "2026-11-21T09:00:00Z"


class Parties:
    """Two researchers whom hospital north knows."""

    def __init__(self, folder: Path) -> None:
        self.keys = {name: Identity.open(folder / f"{name}.key") for name in ("alice", "bob", "mallory")}
        self.known = {name: self.keys[name].public_key for name in ("alice", "bob")}
        self.plan = parse_plan(plan_template())

    def packed(self, name: str = "alice", key: str = "", hospital: str = "north", plan: Plan | None = None) -> dict[str, bytes]:
        identity = self.keys[key or name]
        return pack(plan or self.plan, identity, researcher=name, hospital=hospital, cohort="skin", note="please", at=AT)


@pytest.fixture
def parties(tmp_path: Path) -> Parties:
    return Parties(tmp_path)


def test_what_one_handed_over_is_read_as_it_was_signed(parties: Parties) -> None:
    found = unpack(parties.packed(), parties.known, "north", "alice")
    assert (found.plan.digest, found.cover.researcher, found.cover.note) == (parties.plan.digest, "alice", "please")


def test_nobody_hands_over_what_another_signed(parties: Parties) -> None:
    with pytest.raises(TrustError, match="says to be of alice and came from bob"):
        unpack(parties.packed("alice"), parties.known, "north", "bob")


def test_nobody_signs_for_another(parties: Parties) -> None:
    with pytest.raises(TrustError, match="does not bear the signature of alice"):
        unpack(parties.packed("alice", key="bob"), parties.known, "north", "alice")


def test_nobody_unknown_hands_anything_over(parties: Parties) -> None:
    with pytest.raises(TrustError, match="only named researchers count"):
        unpack(parties.packed("mallory"), parties.known, "north", "mallory")


def test_what_is_for_another_hospital_is_not_taken(parties: Parties) -> None:
    with pytest.raises(TrustError, match="for another hospital"):
        unpack(parties.packed(hospital="south"), parties.known, "north", "alice")


def test_another_plan_than_the_signed_one_is_not_taken(parties: Parties) -> None:
    other = parties.plan.model_copy(update={"title": "another"})
    files = {**parties.packed(), PLAN: parties.packed(plan=other)[PLAN]}
    assert files[PLAN] != parties.packed()[PLAN]
    with pytest.raises(TrustError, match="not the one whose digest"):
        unpack(files, parties.known, "north", "alice")


def test_every_changed_letter_of_a_cover_is_noticed(parties: Parties) -> None:
    files = parties.packed()
    for old, new in ((b"please", b"pleasf"), (b"skin", b"skim"), (AT.encode(), b"2026-11-22T09:00:00Z"), (b"north", b"nortg")):
        assert old in files[COVER]
        with pytest.raises(TrustError):
            unpack({**files, COVER: files[COVER].replace(old, new)}, parties.known, "north", "alice")


@pytest.mark.parametrize("change", ["more", "less", "large", "junk cover", "deep cover", "junk plan"])
def test_what_is_no_plan_and_its_cover_is_refused_by_name(parties: Parties, change: str) -> None:
    files = parties.packed()
    if change == "more":
        files["code.py"] = b""
    elif change == "less":
        del files[COVER]
    elif change == "large":
        files[PLAN] += b" " * (1 << 21)
    elif change == "junk plan":
        files[PLAN] = b"junk"
    else:
        files[COVER] = b"junk" if change == "junk cover" else b"[" * 100_000
    with pytest.raises((TrustError, PlanError)):
        unpack(files, parties.known, "north", "alice")
