"""No worker of the test run is left alone with the long tests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.order import dealt

Item = tuple[str, int, float]
ITEMS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([0.0, 0.0, 0.0, 10.0, 100.0])), max_size=60)


def order(items: list[Item], workers: int) -> list[Item]:
    return dealt(items, lambda item: item[2], lambda item: item[0], workers)


@given(found=ITEMS, workers=st.integers(1, 5))
def test_every_test_runs_exactly_once(found: list[tuple[str, float]], workers: int) -> None:
    items = sorted((module, number, seconds) for number, (module, seconds) in enumerate(found))
    assert sorted(order(items, workers)) == items


def test_every_worker_begins_with_its_share_of_the_long_ones_and_those_of_a_module_stay_together() -> None:
    long = [("a", 0, 100.0), ("b", 1, 60.0), ("b", 2, 60.0), ("c", 3, 50.0)]
    items = [*long, *(("z", number, 0.0) for number in range(4, 30))]
    found = order(items, 3)
    parts = [found[:10], found[10:20], found[20:]]
    assert [[item[0] for item in part if item[2]] for part in parts] == [["b", "b"], ["a"], ["c"]]
    assert all(part[0][2] for part in parts)
    assert [item for item in found if not item[2]] == items[4:]  # the short ones as they were collected
