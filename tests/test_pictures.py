"""What is accepted as a picture, and what a refused file is told."""

import contextlib
import struct

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.errors import CameraError
from edge_runtime.pictures import picture_hw, read_picture

SUFFIXES = ("png", "jpg", "bmp", "tif")


def scene(shape):
    return cv2.GaussianBlur(np.random.default_rng(4).integers(0, 256, shape, dtype=np.uint8), (0, 0), 3)


COLOUR = scene((40, 56, 3))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_colour_comes_as_it_was_stored(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), COLOUR)
    image = read_picture(path)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert picture_hw(path) == image.shape[:2] == (40, 56)
    assert np.abs(image.astype(int) - COLOUR).mean() < (4 if suffix == "jpg" else 1e-9)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_grey_becomes_bgr(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), COLOUR[..., 0])
    image = read_picture(path)
    assert image.shape == (40, 56, 3)
    assert (image == image[..., :1]).all()


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_alpha_is_dropped(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), np.dstack([COLOUR, np.full((40, 56), 9, np.uint8)]))
    np.testing.assert_array_equal(read_picture(path), COLOUR)


def test_one_bit_becomes_black_and_white(tmp_path):
    path = tmp_path / "a.png"
    bits = np.where(COLOUR[..., 0] > 127, 255, 0).astype(np.uint8)
    cv2.imwrite(str(path), bits, [cv2.IMWRITE_PNG_BILEVEL, 1])
    np.testing.assert_array_equal(read_picture(path)[..., 2], bits)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_refused_with_what_to_do(tmp_path, suffix):
    path = tmp_path / f"deep.{suffix}"
    cv2.imwrite(str(path), COLOUR.astype(np.uint16) * 256)
    with pytest.raises(CameraError, match=rf"deep\.{suffix} has uint16 pixels; convert it to 8 bits"):
        read_picture(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_cut_anywhere_is_refused(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    cv2.imwrite(str(path), COLOUR)
    whole = path.read_bytes()
    for length in {0, 1, 3, 7, 12, 30, 60, *range(100, len(whole), 331), len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(CameraError, match=rf"cut\.{suffix}"):
            read_picture(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(suffix=st.sampled_from(SUFFIXES), data=st.data())
def test_a_damaged_file_gives_a_picture_or_a_camera_error_and_nothing_else(tmp_path, suffix, data):
    path = tmp_path / f"bad.{suffix}"
    content = bytearray(cv2.imencode(f".{suffix}", COLOUR)[1].tobytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, min(200, len(content) - 1)))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(CameraError):
        assert read_picture(path).ndim == 3


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "huge.png"
    content = bytearray(cv2.imencode(".png", COLOUR)[1].tobytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    path.write_bytes(content)
    for read in (read_picture, picture_hw):
        with pytest.raises(CameraError, match=r"60000x60000 px; sides must lie in 1\.\.8192"):
            read(path)


def test_the_content_tells_the_format_not_the_name(tmp_path):
    path = tmp_path / "really_png.jpg"
    path.write_bytes(cv2.imencode(".png", COLOUR)[1].tobytes())
    np.testing.assert_array_equal(read_picture(path), COLOUR)


@pytest.mark.parametrize("content", [b"GIF89a" + bytes(50), b"<html>", bytes(100)])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(CameraError, match="is not a picture"):
        read_picture(path)


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "absent.png"):
        with pytest.raises(CameraError, match="does not exist or is no regular file"):
            read_picture(path)
        with pytest.raises(CameraError, match="does not exist or is no regular file"):
            picture_hw(path)
