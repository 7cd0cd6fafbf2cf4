from __future__ import annotations

import contextlib

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MessageError
from protocol.messages import Address, Score, Train, Update, decode_release, decode_request, encode
from protocol.vectors import from_wire, to_wire

ADDRESS = Address("job", "sha256:00", 1, 0)


def update(**changes: object) -> Update:
    vector = np.arange(3, dtype=np.float32)
    fields = {"n_train": 4, "n_positives": 2, "loss": 0.5, "proximal": 0.0, "steps": 3, "seconds": 1.0} | changes
    return Update(address=ADDRESS, delta=to_wire(vector), **fields)  # type: ignore[arg-type]


def test_vectors_travel_exactly() -> None:
    vector = np.array([0.0, -0.0, 1e-45, 3.4e38, np.pi], dtype=np.float32)
    message = decode_request(encode(Train(ADDRESS, 60.0, to_wire(vector))))
    assert isinstance(message, Train)
    assert from_wire(message.model).tobytes() == vector.tobytes()


def test_a_request_is_not_a_release_and_the_other_way_round() -> None:
    with pytest.raises(MessageError):
        decode_release(encode(Score(ADDRESS, "federated", "test")))
    with pytest.raises(MessageError):
        decode_request(encode(update()))


@pytest.mark.parametrize(
    "change",
    [{"n_train": -1}, {"loss": "low"}, {"patient_names": ["x"]}, {"type": "export"}, {"delta": 5}, {"steps": 1.5}],
)
def test_a_release_with_a_wrong_missing_or_unknown_field_is_refused(change: dict[str, object]) -> None:
    fields = msgspec.msgpack.decode(encode(update())) | change
    with pytest.raises(MessageError):
        decode_release(msgspec.msgpack.encode(fields))
    del fields["seconds"]
    with pytest.raises(MessageError):
        decode_release(msgspec.msgpack.encode(fields))


@given(st.binary(max_size=200))
def test_no_bytes_make_the_codec_fail_otherwise(data: bytes) -> None:
    for decode in (decode_request, decode_release):
        try:
            decode(data)
        except MessageError:
            continue


@given(position=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_changed_byte_gives_a_message_or_a_clear_error(position: int, byte: int) -> None:
    data = bytearray(encode(update()))
    data[position % len(data)] = byte
    with contextlib.suppress(MessageError):
        decode_release(bytes(data))
