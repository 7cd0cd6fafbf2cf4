"""PNG, JPEG and TIFF files become the image a viewer would show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from silo_node.intake.candidate import Frame, Limits
from silo_node.intake.examination import open_candidate
from silo_node.intake.reasons import Reason, Rejection

NOISE = np.random.default_rng(3)
GREY = NOISE.integers(0, 256, (6, 8), dtype=np.uint8)
COLOUR = NOISE.integers(0, 256, (6, 8, 3), dtype=np.uint8)
DEEP = NOISE.integers(0, 65536, (6, 8)).astype(np.uint16)


def frames_of(path: Path, limits: Limits = Limits(), values: str = "display") -> list[Frame]:  # noqa: B008
    return list(open_candidate(path, path.name).frames(values, limits))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_and_colour_are_kept_as_they_are(tmp_path, suffix) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(GREY).save(path)
    np.testing.assert_array_equal(frames_of(path)[0].pixels, GREY[np.newaxis])
    Image.fromarray(COLOUR).save(path)
    np.testing.assert_array_equal(frames_of(path)[0].pixels, COLOUR.transpose(2, 0, 1))


def test_a_jpeg_is_what_its_decoder_says(tmp_path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "image.jpg")
    expected = np.asarray(Image.open(tmp_path / "image.jpg")).transpose(2, 0, 1)
    np.testing.assert_array_equal(frames_of(tmp_path / "image.jpg")[0].pixels, expected)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_kept(tmp_path, suffix) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(DEEP).save(path)
    frame = frames_of(path)[0]
    assert frame.pixels.dtype == np.uint16
    np.testing.assert_array_equal(frame.pixels[0], DEEP)


def test_white_is_zero_is_inverted_at_sixteen_bits_too(tmp_path) -> None:
    Image.fromarray(DEEP).save(tmp_path / "image.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(frames_of(tmp_path / "image.tif")[0].pixels[0], 65535 - DEEP)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_black(tmp_path, mode) -> None:
    alpha = np.zeros((6, 8), np.uint8)
    alpha[:, :4] = 255
    picture = Image.fromarray(COLOUR if mode == "RGBA" else GREY).convert(mode)
    picture.putalpha(Image.fromarray(alpha))
    picture.save(tmp_path / "image.png")
    pixels = frames_of(tmp_path / "image.png")[0].pixels
    expected = COLOUR.transpose(2, 0, 1) if mode == "RGBA" else GREY[np.newaxis]
    np.testing.assert_array_equal(pixels[..., :4], expected[..., :4])
    assert not pixels[..., 4:].any()


def test_a_palette_is_resolved(tmp_path) -> None:
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), mode=None).convert("P")
    picture.putpalette([9, 8, 7, 200, 100, 50])
    picture.save(tmp_path / "image.png")
    np.testing.assert_array_equal(frames_of(tmp_path / "image.png")[0].pixels[:, 0], [[9, 200], [8, 100], [7, 50]])


def test_one_bit_images_are_black_and_white(tmp_path) -> None:
    Image.fromarray(GREY > 128).save(tmp_path / "image.png")
    np.testing.assert_array_equal(frames_of(tmp_path / "image.png")[0].pixels[0], np.where(GREY > 128, 255, 0))


def test_the_camera_orientation_is_applied(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "image.png", exif=exif)
    np.testing.assert_array_equal(frames_of(tmp_path / "image.png")[0].pixels[0], np.rot90(GREY, -1))


def test_every_page_of_a_tiff_is_an_image(tmp_path) -> None:
    pages = [Image.fromarray(GREY + step) for step in range(3)]
    pages[0].save(tmp_path / "image.tif", save_all=True, append_images=pages[1:])
    frames = frames_of(tmp_path / "image.tif")
    assert [frame.number for frame in frames] == [0, 1, 2]
    np.testing.assert_array_equal(frames[2].pixels[0], GREY + 2)


def test_float_pages_take_the_range_of_the_image(tmp_path) -> None:
    Image.fromarray(np.array([[-1.0, 0.0, 3.0]], np.float32)).save(tmp_path / "image.tif")
    np.testing.assert_allclose(frames_of(tmp_path / "image.tif")[0].pixels[0, 0] / 65535, [0, 0.25, 1], atol=1e-5)
    assert frames_of(tmp_path / "image.tif", values="modality")[0].pixels.tolist() == [[[-1, 0, 3]]]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:60], Reason.DECODE_FAILED),
        (lambda data: data[:9], Reason.BROKEN_HEADER),
        (lambda data: b"GIF89a" + data, Reason.NOT_AN_IMAGE),
        (lambda data: b"PK\x03\x04" + data, Reason.ARCHIVE),
    ],
)
def test_damage_gets_a_reason(tmp_path, damage, reason) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(COLOUR).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(Rejection) as caught:
        frames_of(path)
    assert caught.value.reason is reason


def test_a_picture_beyond_the_limit_is_not_decoded(tmp_path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "image.png")
    with pytest.raises(Rejection) as caught:
        frames_of(tmp_path / "image.png", Limits(decoded_bytes=100))
    assert caught.value.reason is Reason.TOO_LARGE
