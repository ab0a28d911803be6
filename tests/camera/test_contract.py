"""What every camera driver promises, on real files and a real stream."""

import threading
import time
from datetime import timedelta

import numpy as np
import pytest

from edge_runtime.camera.belt import BeltCamera
from edge_runtime.camera.folder import FolderCamera
from edge_runtime.camera.opencv import OpenCvCamera
from edge_runtime.camera.synthetic import SyntheticCamera
from edge_runtime.clock import NS_PER_MS, SystemClock
from edge_runtime.errors import CameraError, EndOfPictures
from edge_runtime.values import check_picture

CLOCK = SystemClock()
LIVE = ("opencv video", "opencv stream")
KINDS = ("synthetic", "belt", "folder", "folder video", *LIVE)


def build(kind, request):
    if kind == "synthetic":
        return SyntheticCamera((80, 96), 3, clock=CLOCK)
    if kind == "belt":
        return BeltCamera(request.getfixturevalue("tmp_path") / "script", (80, 96), 200, CLOCK)
    if kind == "folder":
        return FolderCamera(request.getfixturevalue("folder"), None, True, CLOCK)
    if kind == "folder video":
        return FolderCamera(request.getfixturevalue("video"), None, True, CLOCK)
    if kind == "opencv video":
        return OpenCvCamera(str(request.getfixturevalue("video")), None, None, None, None, None, CLOCK)
    return OpenCvCamera(request.getfixturevalue("stream")().url, 64, 48, None, None, None, CLOCK)


@pytest.fixture(params=KINDS)
def camera(request):
    built = build(request.param, request)
    yield built
    built.close()


@pytest.fixture(params=[kind for kind in KINDS if kind != "opencv video"])
def endless_camera(request):
    built = build(request.param, request)
    yield built
    built.close()


def test_pictures_are_lawful_and_times_go_forward(camera):
    camera.open()
    camera.check()
    exposures = []
    for _ in range(4):
        image, exposure = camera.capture(None, 3000)
        check_picture(image)
        assert image.shape[:2] == camera.image_hw
        assert exposure.captured_ns <= time.monotonic_ns()
        assert abs(CLOCK.utc_now() - exposure.captured_at) < timedelta(seconds=1)
        exposures.append(exposure.captured_ns)
    assert exposures == sorted(set(exposures))


def test_a_trigger_gets_an_exposure_not_before_it(endless_camera):
    endless_camera.open()
    for _ in range(3):
        trigger_ns = time.monotonic_ns()
        _, exposure = endless_camera.capture(trigger_ns, 3000)
        assert exposure.captured_ns >= trigger_ns


def test_a_trigger_that_never_comes_blocks_no_longer_than_asked(endless_camera):
    endless_camera.open()
    endless_camera.capture(None, 3000)
    began_ns = time.monotonic_ns()
    assert endless_camera.capture(began_ns + 3_600_000 * NS_PER_MS, 50) is None
    waited_ms = (time.monotonic_ns() - began_ns) / NS_PER_MS
    assert 45 < waited_ms < 500


def test_capture_needs_open(camera):
    with pytest.raises(CameraError, match="not open"):
        camera.capture(None, 10)
    camera.open()
    camera.close()
    camera.close()
    with pytest.raises(CameraError, match="not open"):
        camera.capture(None, 10)


def test_it_opens_again(camera):
    for _ in range(2):
        camera.open()
        image, _ = camera.capture(None, 3000)
        assert image.any()
        camera.close()


def test_a_picture_stays_as_it_is_until_the_next_call(endless_camera):
    endless_camera.open()
    image, _ = endless_camera.capture(None, 3000)
    copy = image.copy()
    threading.Event().wait(0.06)  # three more frames of the stream
    np.testing.assert_array_equal(image, copy)


def test_a_room_gets_the_picture_or_is_left_alone(camera):
    camera.open()
    height, width = camera.image_hw
    rooms = [np.full(height * width * 3 + 5, 7, np.uint8) for _ in range(3)]
    for room in rooms:
        image, _ = camera.capture(None, 3000, room)
        check_picture(image)
        assert image.shape[:2] == (height, width)
        in_room = image.ctypes.data == room.ctypes.data
        assert in_room or not np.shares_memory(image, room)
        assert (room[image.size if in_room else 0 :] == 7).all()


@pytest.mark.parametrize("kind", ["folder", "folder video", "synthetic"])
def test_pictures_that_can_are_put_into_the_room(kind, request):
    camera, room = build(kind, request), np.zeros(80 * 96 * 3, np.uint8)
    camera.open()
    image, _ = camera.capture(None, 1000, room)
    assert image.ctypes.data == room.ctypes.data
    camera.close()


def test_a_picture_that_was_too_late_for_its_trigger_is_not_kept_in_the_room(request):
    """Its slot goes to another part; the picture comes for the next trigger."""
    camera, room = build("folder", request), np.zeros(80 * 96 * 3, np.uint8)
    camera.open()
    first = camera.capture(None, 0)[0].copy()
    camera.close()
    camera = build("folder", request)
    camera.open()
    assert camera.capture(time.monotonic_ns() + 3_600_000 * NS_PER_MS, 5, room) is None
    room[:] = 0
    image, _ = camera.capture(time.monotonic_ns(), 1000)
    np.testing.assert_array_equal(image, first)
    camera.close()


@pytest.mark.parametrize("kind", ["folder", "folder video", "synthetic"])
def test_a_finite_source_ends(kind, request):
    sources = {
        "folder": lambda: FolderCamera(request.getfixturevalue("folder"), None, False, CLOCK),
        "folder video": lambda: FolderCamera(request.getfixturevalue("video"), None, False, CLOCK),
        "synthetic": lambda: SyntheticCamera((64, 64), 1, clock=CLOCK, parts=10),
    }
    camera = sources[kind]()
    camera.open()
    for _ in range(10):
        assert camera.capture(None, 1000) is not None
    for _ in range(2):
        with pytest.raises(EndOfPictures, match="shown"):
            camera.capture(None, 1000)
    camera.close()
