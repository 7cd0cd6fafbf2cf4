"""Killed at any instant, from several processes at once: every release that left is in the ledger."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from privacy.ledger import Budget, Ledger
from protocol.errors import BudgetError
from tests.privacy.ledgers import ROUND, charge, new


@contextmanager
def process(work: Callable[[int], None]) -> Iterator[tuple[int, int]]:
    """(process id, pipe) of a child that runs `work` with the pipe's other end, and is killed in the end."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(into)
        finally:
            os._exit(0)
    os.close(into)
    try:
        yield child, out
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(out)


def released(pipe: int) -> set[str]:
    """What the child let out, once it is dead."""
    data = b""
    while block := os.read(pipe, 65536):
        data += block
    return set(data.decode().split("\n")[:-1])


def charge_and_release(path: Path, pipe: int, name: str, count: int) -> None:
    ledger = Ledger.open(path)
    for number in range(count):
        charge(ledger, release=f"{name}/{number}")
        _WRITE(pipe, f"{name}/{number}\n".encode())


_WRITE, _FSYNC = os.write, os.fsync


def in_ledger(path: Path) -> set[str]:
    return {entry.release for entry in Ledger.open(path).entries}


def test_killed_at_random_times(tmp_path: Path) -> None:
    ledger = new(tmp_path)
    charge(ledger, release="warm-up")  # imports done before the clock runs
    chance = random.Random(1)
    out: set[str] = set()
    for attempt in range(400):  # a busy machine gets less done before each kill
        if attempt >= 40 and len(out) > 40:
            break
        with process(lambda pipe, a=attempt: charge_and_release(ledger.path, pipe, f"a{a}", 10**6)) as (child, pipe):
            time.sleep(chance.uniform(0.0, 0.05))
            os.kill(child, signal.SIGKILL)
            out |= released(pipe)
        assert out <= in_ledger(ledger.path)
    assert len(out) > 40  # it was killed while at work


@pytest.mark.parametrize(
    "instant", ["before the write", "in the write", "after the write", "before the sync", "after the sync"]
)
@pytest.mark.parametrize("nth", [1, 2, 5])
def test_killed_inside_a_charge(tmp_path: Path, instant: str, nth: int) -> None:
    ledger = new(tmp_path)
    charge(ledger, release="warm-up")
    calls = {"write": 0, "sync": 0}

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write(descriptor: int, data: bytes) -> int:
        calls["write"] += 1
        now = calls["write"] == nth
        if now and instant == "before the write":
            die()
        if now and instant == "in the write":
            _WRITE(descriptor, data[: len(data) // 2])
            die()
        written = _WRITE(descriptor, data)
        if now and instant == "after the write":
            die()
        return written

    def sync(descriptor: int) -> None:
        calls["sync"] += 1
        now = calls["sync"] == nth
        if now and instant == "before the sync":
            die()
        _FSYNC(descriptor)
        if now and instant == "after the sync":
            die()

    def work(pipe: int) -> None:
        os.write, os.fsync = write, sync  # of the child only
        charge_and_release(ledger.path, pipe, "r", 10)

    with process(work) as (_, pipe):
        out = released(pipe)
    assert len(out) == nth - 1
    assert out <= in_ledger(ledger.path)
    again = Ledger.open(ledger.path)
    for number in range(10):  # the node comes back and does its work again
        charge(again, release=f"r/{number}")
    assert in_ledger(ledger.path) == {"warm-up"} | {f"r/{number}" for number in range(10)}


def test_several_processes_lose_no_charge(tmp_path: Path) -> None:
    ledger = new(tmp_path)
    charge(ledger, release="warm-up")
    out, into = os.pipe()
    children = []
    for name in "abcd":
        child = os.fork()
        if child == 0:
            try:
                charge_and_release(ledger.path, into, name, 25)
            finally:
                os._exit(0)
        children.append(child)
    os.close(into)
    assert len(released(out)) == 100
    for child in children:
        os.waitpid(child, 0)
    os.close(out)
    assert len(Ledger.open(ledger.path).entries) == 101


def test_several_processes_cannot_pass_the_budget_together(tmp_path: Path) -> None:
    ledger = new(tmp_path)
    limit = Budget(max_epsilon_per_study=100.0, max_epsilon_total=2.0, delta=1e-6)
    charge(ledger, release="warm-up", budget=limit)
    room = int(1.0 / limit.share([{"train": [ROUND]}]))
    assert room > 2

    def work(name: str) -> None:
        mine = Ledger.open(ledger.path)
        for number in range(room):
            try:
                charge(mine, release=f"{name}/{number}", job=f"job-{name}", budget=limit)
            except BudgetError:
                return

    children = []
    for name in "ab":
        child = os.fork()
        if child == 0:
            try:
                work(name)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert len(Ledger.open(ledger.path).entries) == room
