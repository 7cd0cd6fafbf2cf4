"""How much memory a fork gets: never so much that a container would end the hospital's node over it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from privacy.sandbox import Limits, Sandbox, limits
from privacy.sandbox.limits import MIB, fitting
from protocol import free_memory
from protocol.errors import CodeError
from tests.privacy.sandbox.conftest import TASKS


def test_a_fork_gets_half_of_what_its_container_has_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text(f"{1000 * MIB}\n")
    (tmp_path / "memory.current").write_text(f"{600 * MIB}\n")
    monkeypatch.setattr(free_memory, "_CGROUP", tmp_path)
    assert fitting(Limits()).memory_bytes == 200 * MIB
    assert fitting(Limits(memory_bytes=10 * MIB)).memory_bytes == 10 * MIB
    (tmp_path / "memory.max").write_text("max\n")
    assert fitting(Limits()).memory_bytes > 200 * MIB
    (tmp_path / "memory.max").write_text("0\n")
    assert fitting(Limits()).memory_bytes == 0


def test_that_is_what_a_module_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "available", lambda: 400 * MIB)
    source = "def attack(state, given, arrays):\n    return {'got': len(bytearray(given))}, {}\n"
    with Sandbox(TASKS, Limits(), tell=True) as box:
        with box.fresh() as fork:
            fork.call("run", {"source": source, "given": 100 * MIB}, {}, deadline=time.monotonic() + 30)
        with box.fresh() as fork, pytest.raises(CodeError, match="MemoryError"):
            fork.call("run", {"source": source, "given": 300 * MIB}, {}, deadline=time.monotonic() + 30)
