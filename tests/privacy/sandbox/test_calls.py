"""Questions and answers of forks that do as they are asked."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from privacy.sandbox import Sandbox
from privacy.sandbox.module import load_module
from protocol.errors import CodeError, MessageError


def soon() -> float:
    return time.monotonic() + 60


def test_values_and_arrays_come_back_as_they_went(box: Sandbox) -> None:
    arrays = {
        "images": np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, ::-1],
        "labels": np.array([1, -(2**60)]),
        "none": np.empty((0, 3), np.uint8),
        "number": np.float64(2.5).reshape(()),
    }
    with box.fresh() as fork:
        values, back = fork.call("echo", {"a": [1, None, {"b": "é"}]}, arrays, deadline=soon())
    assert values == {"a": [1, None, {"b": "é"}]}
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


def test_large_arrays_go_through(box: Sandbox) -> None:
    array = np.random.default_rng(0).random(100_000)
    with box.fresh() as fork:
        _, back = fork.call("echo", {}, {"x": array}, deadline=soon())
    np.testing.assert_array_equal(back["x"], array)


def test_a_fork_remembers_and_the_next_does_not(box: Sandbox) -> None:
    with box.fresh() as fork:
        assert [fork.call("remember", {}, {}, deadline=soon())[0]["calls"] for _ in range(3)] == [1, 2, 3]
    with box.fresh() as fork:
        assert fork.call("remember", {}, {}, deadline=soon())[0]["calls"] == 1


def test_a_gradient_in_a_fork_is_that_of_this_process(box: Sandbox) -> None:
    from tests.privacy.sandbox.tasks import gradient

    rng = np.random.default_rng(1)
    arrays = {"images": rng.random((3, 1, 8, 8), dtype=np.float32), "labels": np.array([0, 1, 1])}
    wanted = gradient({}, {}, arrays)[1]["gradient"]
    assert np.abs(wanted).max() > 0.01
    with box.fresh() as fork:
        _, found = fork.call("gradient", {}, arrays, deadline=soon(), answer={"gradient": ("float32", wanted.shape)})
    np.testing.assert_array_equal(found["gradient"], wanted)


def test_two_threads_have_forks_of_their_own(box: Sandbox) -> None:
    def count(times: int) -> list[int]:
        with box.fresh() as fork:
            return [fork.call("remember", {}, {}, deadline=soon())[0]["calls"] for _ in range(times)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(count, [5, 6, 7, 8, 9, 10])) == [list(range(1, n + 1)) for n in (5, 6, 7, 8, 9, 10)]


def test_the_module_s_error_and_its_line_are_told_where_they_may(box: Sandbox) -> None:
    with box.fresh() as fork, pytest.raises(CodeError, match=r"mine\.py, line 2: ZeroDivisionError"):
        fork.call("load", {"source": "x = 0\n1 / x\n"}, {}, deadline=soon())


def test_a_module_never_runs_in_the_process_that_asks() -> None:
    with pytest.raises(CodeError, match="sandbox only"):
        load_module("raise SystemExit", "mine.py")


def test_a_fork_that_failed_once_answers_nothing_more(box: Sandbox) -> None:
    with box.fresh() as fork:
        with pytest.raises(CodeError):
            fork.call("no such task", {}, {}, deadline=soon())
        with pytest.raises(CodeError):
            fork.call("echo", {}, {}, deadline=soon())


def test_a_question_that_cannot_be_sent_is_the_asker_s_mistake_and_costs_no_fork(box: Sandbox) -> None:
    with box.fresh() as fork:
        with pytest.raises(MessageError, match="float16"):
            fork.call("echo", {}, {"x": np.zeros(1, np.float16)}, deadline=soon())
        with pytest.raises(MessageError, match="JSON"):
            fork.call("echo", {"x": object()}, {}, deadline=soon())
        fork.call("echo", {}, {}, deadline=soon())
