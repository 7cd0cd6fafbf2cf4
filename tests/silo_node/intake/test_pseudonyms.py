"""Pseudonyms are stable under one key and the key is kept as a secret."""

from __future__ import annotations

import hashlib
import hmac
import stat

import pytest

from protocol.errors import InputError
from silo_node.intake.pseudonym import ENVIRONMENT, key_path, load_or_create_key, patient_pseudonym

KEY = bytes(32)


def test_it_is_the_documented_hmac() -> None:
    expected = hmac.new(KEY, b"patient\0HOSPITAL\0MRN-1", hashlib.sha256).hexdigest()[:32]
    assert patient_pseudonym(KEY, "MRN-1", "HOSPITAL") == expected


def test_patients_issuers_and_keys_are_told_apart() -> None:
    seen = {patient_pseudonym(KEY, "1"), patient_pseudonym(KEY, "2"), patient_pseudonym(KEY, "1", "A")}
    assert len(seen | {patient_pseudonym(bytes(31) + b"1", "1")}) == 4


def test_a_key_is_made_once_for_its_owner_only(tmp_path) -> None:
    path = tmp_path / "deep" / "pseudonym.key"
    key = load_or_create_key(path)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_key(path) == key
    assert [file.name for file in path.parent.iterdir()] == ["pseudonym.key"]


def test_a_key_open_to_others_is_refused(tmp_path) -> None:
    load_or_create_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        load_or_create_key(tmp_path / "key")


def test_a_file_that_is_no_key_is_refused(tmp_path) -> None:
    (tmp_path / "key").write_bytes(b"short")
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(InputError, match="32 bytes"):
        load_or_create_key(tmp_path / "key")


def test_the_chosen_path_goes_before_the_environment(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "environment"))
    assert key_path(tmp_path / "chosen") == tmp_path / "chosen"
    assert key_path(None) == tmp_path / "environment"
    monkeypatch.delenv(ENVIRONMENT)
    assert key_path(None).name == "pseudonym.key"
