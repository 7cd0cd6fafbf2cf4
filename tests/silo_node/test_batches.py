from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from protocol.plan.training import Sgd, Training
from silo_node.training.batches import batches, n_steps


def training(**changes: object) -> Training:
    fields: dict[str, object] = {"local_epochs": 1, "batch_size": 8, "optimizer": Sgd(name="SGD", lr=0.1)} | changes
    return Training(**fields)  # type: ignore[arg-type]


@given(n=st.integers(1, 50), size=st.integers(1, 20), epochs=st.integers(1, 3), seed=st.integers(0, 99))
def test_an_epoch_shows_every_image_exactly_once(n: int, size: int, epochs: int, seed: int) -> None:
    plan = training(batch_size=size, local_epochs=epochs)
    positions = np.arange(100, 100 + n)
    seen = np.concatenate(list(batches(plan, positions, np.zeros(200, dtype=np.int64), n_steps(plan, n), seed)))
    assert sorted(seen) == sorted(np.tile(positions, epochs))


@given(n=st.integers(1, 50), steps=st.integers(1, 40))
def test_local_steps_are_exactly_that_many_at_any_cohort_size(n: int, steps: int) -> None:
    plan = training(local_epochs=None, local_steps=steps)
    assert len(list(batches(plan, np.arange(n), np.zeros(n, dtype=np.int64), n_steps(plan, n), 1))) == steps


def test_balanced_batches_draw_each_class_equally_often() -> None:
    labels = np.array([1] * 5 + [0] * 995)
    plan = training(sampling="balanced", batch_size=50, local_epochs=None, local_steps=200)
    drawn = np.concatenate([labels[batch] for batch in batches(plan, np.arange(1000), labels, 200, 7)])
    # 10,000 draws at p = 1/2: six standard deviations are 300.
    assert abs(int(drawn.sum()) - 5000) < 300


def test_the_seed_alone_decides_the_order() -> None:
    plan = training()
    orders = [[b.tolist() for b in batches(plan, np.arange(30), np.zeros(30, dtype=np.int64), 4, s)] for s in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
