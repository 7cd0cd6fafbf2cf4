"""One nursery for all tests of the sandbox: it takes seconds to start."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from privacy.sandbox import Limits, Sandbox, available

TASKS = "tests.privacy.sandbox.tasks"
LIMITS = Limits(memory_bytes=512 * 2**20, cpu_seconds=5, call_seconds=20.0, reply_bytes=2**20)


@pytest.fixture(scope="session", autouse=True)
def _on_a_machine_that_can() -> None:
    if reason := available():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox that tells what the module said."""
    with Sandbox(TASKS, LIMITS, [tmp_path_factory.getbasetemp()], tell=True) as sandbox:
        yield sandbox


@pytest.fixture
def attack(box: Sandbox) -> Callable[..., Any]:
    """Run a module's `attack(state, given, arrays)` in a fork of its own and return its values."""

    def run(source: str, given: Any = None, seconds: float = 60) -> dict[str, Any]:
        with box.fresh() as fork:
            values, _ = fork.call("run", {"source": source, "given": given}, {}, deadline=time.monotonic() + seconds)
            return values

    return run
