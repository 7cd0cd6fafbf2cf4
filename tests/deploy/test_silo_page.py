"""docs/silo.md says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.errors import InputError
from protocol.service_log import FIELDS
from silo_node.service.config import Places, SiloConfig
from silo_node.service.preflight import preflight
from silo_node.service.reference import with_tables

PAGE = Path(__file__).parents[2] / "docs" / "silo.md"


def section(title: str) -> str:
    return PAGE.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_tables_are_those_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page, "run: python -m silo_node.service.reference docs/silo.md"


def test_a_page_without_one_of_the_tables_is_refused() -> None:
    with pytest.raises(InputError, match="metrics"):
        with_tables(PAGE.read_text(encoding="utf-8").replace("<!-- table: metrics -->", ""))


def test_every_line_of_the_preflight_is_explained_in_its_order(tmp_path: Path) -> None:
    places = {name: tmp_path / name for name in Places.model_fields}
    config = SiloConfig(kit="kit", store="store")
    found = [check.name for check in preflight(config, Places(**places))]
    explained = [line.split("`")[1] for line in section("Preflight").splitlines() if line.startswith("| `")]
    assert explained == found


def test_every_field_of_the_log_is_explained() -> None:
    assert [field for field in FIELDS if f"`{field}`" not in section("Log")] == []
