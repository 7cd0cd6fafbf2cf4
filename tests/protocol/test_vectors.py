from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MessageError
from protocol.vectors import Layout, from_wire, load_tensors, save_tensors, to_wire

shapes = st.lists(st.lists(st.integers(0, 5), max_size=3).map(tuple), min_size=1, max_size=6)


@given(shapes=shapes, seed=st.integers(0, 2**32 - 1))
def test_tensors_survive_the_way_through_a_vector_and_the_wire(shapes: list[tuple[int, ...]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    layout = Layout(tuple((f"t{i}", shape) for i, shape in enumerate(shapes)))
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in layout.entries}
    back = layout.unflatten(from_wire(bytes(to_wire(layout.flatten(tensors)))))
    assert back.keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(back[name], value)


def test_a_vector_of_another_length_is_refused() -> None:
    layout = Layout((("a", (2, 3)),))
    with pytest.raises(MessageError, match="5 values"):
        layout.unflatten(np.zeros(5, dtype=np.float32))
    with pytest.raises(MessageError, match="whole number"):
        from_wire(b"\0" * 7)


def test_layouts_that_differ_in_order_shape_or_name_have_different_digests() -> None:
    layouts = [
        (("a", (2,)), ("b", (3,))),
        (("b", (3,)), ("a", (2,))),
        (("a", (3,)), ("b", (2,))),
        (("a", (2,)), ("c", (3,))),
    ]
    assert len({Layout(entries).digest for entries in layouts}) == len(layouts)


def test_a_damaged_model_file_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_tensors(path, {"a": np.arange(4, dtype=np.float32)})
    np.testing.assert_array_equal(load_tensors(path)["a"], np.arange(4))
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(MessageError, match="not a readable"):
        load_tensors(path)
