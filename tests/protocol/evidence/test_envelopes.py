"""Envelopes and chains of receipts: one spelling, one signer, one order."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol.canonical import digest_bytes
from protocol.errors import EvidenceError
from protocol.evidence.dsse import unseal
from protocol.evidence.receipt import TYPE, ReleaseReceipt, read_chain, write_receipt
from protocol.identity import Identity, verify_bytes

RECEIPT = ReleaseReceipt(
    site="s0", seq=0, previous="", job="job-1", plan_digest="sha256:00", approval="local", round=1, attempt=0,
    purpose="update", kind="update", model="sha256:11", commitment="sha256:22",
)  # fmt: skip


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity.open(tmp_path_factory.mktemp("keys") / "s0.key")


def chain(identity: Identity, n: int = 4, **changes: object) -> list[bytes]:
    lines: list[bytes] = []
    for seq in range(n):
        previous = digest_bytes(lines[-1]) if lines else ""
        lines.append(write_receipt(identity, replace(RECEIPT, seq=seq, previous=previous, round=seq + 1, **changes)))
    return lines


def read(lines: list[bytes], identity: Identity) -> int:
    return read_chain(lines, "s0", identity.public_key, "job-1", "sha256:00")[1].length


def test_a_signature_is_over_the_standards_encoding(identity: Identity) -> None:
    envelope = json.loads(write_receipt(identity, RECEIPT))
    payload = base64.b64decode(envelope["payload"])
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    encoded = f"DSSEv1 {len(TYPE)} {TYPE} {len(payload)} ".encode() + payload
    assert verify_bytes(identity.public_key, signature, encoded)
    assert not verify_bytes(identity.public_key, signature, payload)
    assert json.loads(payload)["schema"] == "fedward.release-receipt/1"


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_no_byte_of_an_envelope_can_be_changed(identity: Identity, position: int, flip: int) -> None:
    data = bytearray(write_receipt(identity, RECEIPT))
    data[position % len(data)] ^= flip
    with pytest.raises(EvidenceError):
        unseal(bytes(data), "s0", identity.public_key, TYPE, ReleaseReceipt)


def test_another_spelling_of_the_same_envelope_is_refused(identity: Identity) -> None:
    data = write_receipt(identity, RECEIPT)
    with pytest.raises(EvidenceError, match="canonical"):
        unseal(data.replace(b'","', b'", "', 1), "s0", identity.public_key, TYPE, ReleaseReceipt)


def test_a_statement_of_another_kind_is_refused_though_it_was_signed(identity: Identity) -> None:
    with pytest.raises(EvidenceError, match="not one"):
        unseal(write_receipt(identity, RECEIPT), "s0", identity.public_key, "application/other", ReleaseReceipt)


def test_a_chain_is_read_to_its_end(identity: Identity) -> None:
    lines = chain(identity)
    receipts, head = read_chain(lines, "s0", identity.public_key, "job-1", "sha256:00")
    assert [one.round for one in receipts] == [1, 2, 3, 4]
    assert (head.length, head.digest) == (4, digest_bytes(lines[-1]))


def test_what_is_dropped_doubled_or_out_of_order_is_named(identity: Identity) -> None:
    a, b, c, d = chain(identity)
    for lines, number, words in (
        ([a, c, d], 1, "was dropped"),
        ([b, c, d], 0, "was dropped"),
        ([a, b, b, c, d], 2, "second time"),
        ([a, c, b, d], 1, "order was changed"),
    ):
        with pytest.raises(EvidenceError, match=f"receipt {number} of s0: .*{words}"):
            read(lines, identity)


def test_a_receipt_that_was_signed_anew_does_not_follow_the_one_before(identity: Identity) -> None:
    a, b, c, d = chain(identity)
    other = write_receipt(identity, replace(RECEIPT, seq=1, previous=digest_bytes(a), round=9))
    with pytest.raises(EvidenceError, match="receipt 2 of s0: it does not follow"):
        read([a, other, c, d], identity)
    assert b != other


def test_receipts_of_another_job_plan_or_silo_are_refused(identity: Identity, tmp_path: Path) -> None:
    for changes, words in (({"job": "job-0"}, "replayed"), ({"plan_digest": "sha256:99"}, "another plan")):
        with pytest.raises(EvidenceError, match=words):
            read(chain(identity, **changes), identity)
    with pytest.raises(EvidenceError, match="signed as s1"):
        read(chain(identity, site="s1"), identity)
    stranger = Identity.open(tmp_path / "stranger.key")
    with pytest.raises(EvidenceError, match="not one of the key of s0"):
        read(chain(stranger), identity)


def test_a_refusal_may_answer_a_request_of_another_plan(identity: Identity) -> None:
    assert read(chain(identity, plan_digest="sha256:99", kind="refusal"), identity) == 4
