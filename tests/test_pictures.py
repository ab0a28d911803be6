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


# -- into memory of the caller ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["colour", "grey"])
def test_a_picture_is_put_at_the_beginning_of_the_room(tmp_path, suffix, kind):
    path, room = tmp_path / f"a.{suffix}", np.full(40 * 56 * 3 + 100, 7, np.uint8)
    cv2.imwrite(str(path), COLOUR if kind == "colour" else COLOUR[..., 0])
    image = read_picture(path, room)
    assert image.ctypes.data == room.ctypes.data
    np.testing.assert_array_equal(image, read_picture(path))
    assert (room[image.size :] == 7).all()


def test_a_room_that_is_too_small_is_left_alone(tmp_path):
    path, room = tmp_path / "a.png", np.full(40 * 56 * 3 - 1, 7, np.uint8)
    cv2.imwrite(str(path), COLOUR)
    np.testing.assert_array_equal(read_picture(path, room), COLOUR)
    assert (room == 7).all()


@pytest.mark.parametrize("start", [b"no picture here!", b"\x00" * 16])
def test_what_lay_in_the_room_is_never_taken_for_the_picture(tmp_path, start):
    """Not even where the picture begins as OpenCV leaves a room that it could not fill."""
    picture = COLOUR.copy()
    picture.reshape(-1)[:16] = np.frombuffer(start, np.uint8)
    path, room = tmp_path / "a.png", np.full(40 * 56 * 3, 7, np.uint8)
    cv2.imwrite(str(path), picture)
    np.testing.assert_array_equal(read_picture(path, room), picture)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_damaged_file_is_refused_with_a_room_as_without(tmp_path, suffix):
    """Cut anywhere: an error, or the picture that the long way gives; never what lay in the room before."""
    whole, cut = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    cv2.imwrite(str(whole), COLOUR)
    data, room = whole.read_bytes(), np.empty(40 * 56 * 3, np.uint8)
    for length in range(0, len(data), max(1, len(data) // 40)):
        cut.write_bytes(data[:length])
        room[:] = 7
        with contextlib.suppress(CameraError):
            image = read_picture(cut, room)
            np.testing.assert_array_equal(image, read_picture(cut))


def test_a_name_that_is_not_utf8_can_be_read(tmp_path):
    path, room = tmp_path / "\udcff.png", np.zeros(40 * 56 * 3, np.uint8)
    path.write_bytes(cv2.imencode(".png", COLOUR)[1].tobytes())
    np.testing.assert_array_equal(read_picture(path, room), COLOUR)
