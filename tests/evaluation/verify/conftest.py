"""One job of each kind for all tests of a session; each test forges a copy."""

from __future__ import annotations

import pytest

from tests.evaluation.verify.jobs import HIDDEN, OPEN, SUMMED, Case, case


@pytest.fixture(scope="session")
def open_job(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(OPEN, tmp_path_factory.mktemp("open"))


@pytest.fixture(scope="session")
def summed_job(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(SUMMED, tmp_path_factory.mktemp("summed"))


@pytest.fixture(scope="session")
def hidden_job(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(HIDDEN, tmp_path_factory.mktemp("hidden"))
