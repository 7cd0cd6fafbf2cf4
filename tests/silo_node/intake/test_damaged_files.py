"""Whatever bytes a file holds, looking at it ends in samples or in a reason."""

from __future__ import annotations

import io
import os

import numpy as np
from dicom_phantoms import dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from silo_node.intake.examination import examine
from silo_node.intake.labels import parse_labels
from silo_node.intake.messages import Context, Outcome, Task
from silo_node.intake.reasons import REASONS

RELAXED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def dicom_bytes() -> bytes:
    buffer = io.BytesIO()
    dataset(WindowCenter=20, WindowWidth=30, PixelSpacing=[1, 1], PatientAge="045Y", PatientID="P").save_as(buffer)
    return buffer.getvalue()


def picture_bytes(suffix: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(buffer, suffix)
    return buffer.getvalue()


WHOLE = [dicom_bytes(), picture_bytes("PNG"), picture_bytes("TIFF"), picture_bytes("JPEG")]


def outcome_of(data: bytes, folder) -> Outcome:
    (folder / "image").write_bytes(data)
    context = Context(
        source=os.fsencode(folder),
        key=bytes(32),
        values="display",
        decoded_bytes=1 << 20,
        seconds=10.0,
        labels=parse_labels(b"file,PatientID,y\nimage,P,1\n"),
    )
    return examine(context, Task(0, b"image"))[0]


def is_an_end(outcome: Outcome) -> bool:
    return outcome.reason in REASONS if outcome.reason else bool(outcome.records) and outcome.size > 0


@RELAXED
@given(
    data=st.sampled_from(WHOLE),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
    end=st.integers(0, 4000),
)
def test_flipped_and_truncated_images_end(tmp_path, data, changes, end) -> None:
    damaged = bytearray(data[:end] if end < len(data) else data)
    for position, value in changes:
        if damaged:
            damaged[position % len(damaged)] = value
    assert is_an_end(outcome_of(bytes(damaged), tmp_path))


@RELAXED
@given(head=st.sampled_from([b"", b"\0" * 128 + b"DICM", b"\x08\0\x05\0CS", b"\x89PNG\r\n\x1a\n", b"II*\0"]), tail=st.binary())
def test_arbitrary_bytes_end(tmp_path, head, tail) -> None:
    assert is_an_end(outcome_of(head + tail, tmp_path))


def test_the_undamaged_ones_are_samples(tmp_path) -> None:
    assert {outcome_of(data, tmp_path).reason for data in WHOLE} == {None}
