"""What preflight says can be acted on: it names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from silo_node.service.config import Places, SiloConfig, places
from silo_node.service.preflight import Check, preflight


@pytest.fixture
def where(tmp_path: Path) -> Places:
    return places(SiloConfig(kit="kit", store="stores/north"), tmp_path)


def checked(where: Places) -> dict[str, Check]:
    return {check.name: check for check in preflight(SiloConfig(kit="kit", store="stores/north"), where)}


def test_the_policy_that_is_missing_is_to_be_written_beside_the_store(where: Places) -> None:
    assert checked(where)["policy"].do == f"fedward silo policy {where.store.parent / 'north.policy.yaml'}"


def test_a_folder_that_is_not_there_is_named(where: Places) -> None:
    assert checked(where)["disk"].says == f"{where.ledger.parent}: No such file or directory"


def test_an_error_that_says_what_to_do_is_not_told_to_be_mended(where: Places) -> None:
    store = checked(where)["store"]
    assert "fedward silo import" in store.says
    assert store.do == ""
