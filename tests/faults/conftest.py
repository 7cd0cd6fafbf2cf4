"""Every test here hurts real processes and is slow. Each module has clusters of its own; they end with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three hospitals that must all stay: whatever one of them loses, a round cannot do without."""
    made = Cluster(tmp_path_factory.mktemp("cluster"), ("north", "south", "west"))
    try:
        made.start()
        yield made
    finally:
        made.stop()
