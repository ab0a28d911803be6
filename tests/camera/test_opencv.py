"""The live driver on a real HTTP stream: freshness, loss, return, and refusals that say what to do."""

import threading
import time

import cv2
import pytest

from edge_runtime.camera.opencv import OpenCvCamera, parse_source
from edge_runtime.clock import NS_PER_MS, SystemClock
from edge_runtime.errors import CameraError, EndOfPictures


def camera_on(source, width_px=None, height_px=None, exposure=None, pixel_format=None):
    return OpenCvCamera(source, width_px, height_px, None, exposure, pixel_format, SystemClock())


@pytest.fixture
def opened(stream):
    server = stream()
    camera = camera_on(server.url)
    camera.open()
    yield camera, server
    camera.close()


def busy_elsewhere(duration_ms):
    threading.Event().wait(duration_ms / 1000)


def drain(camera):
    """Capture until it raises, for at most 10 s."""
    for _ in range(100):
        camera.capture(None, 100)


def keep_checking(camera):
    """Check until it raises, for at most 10 s."""
    for _ in range(100):
        camera.check()
        busy_elsewhere(100)


def collect(camera, number_of, numbers):
    """Append the number of each picture until the camera raises."""
    while True:
        image, _ = camera.capture(None, 1000)
        numbers.append(number_of(image))


def test_free_run_gives_the_newest_frame_however_long_nobody_asked(opened):
    camera, _ = opened
    camera.capture(None, 2000)
    busy_elsewhere(300)
    asked_ns = time.monotonic_ns()
    _, exposure = camera.capture(None, 2000)
    assert exposure.captured_ns > asked_ns - 100 * NS_PER_MS


def test_no_frame_is_given_twice(opened):
    camera, _ = opened
    times = [camera.capture(None, 2000)[1].captured_ns for _ in range(6)]
    assert len(set(times)) == 6


def test_a_trigger_whose_frame_is_gone_gets_none_and_no_later_part(opened):
    camera, _ = opened
    camera.capture(None, 2000)
    trigger_ns = time.monotonic_ns()
    busy_elsewhere(400)
    assert camera.capture(trigger_ns, 1000) is None
    assert time.monotonic_ns() < trigger_ns + 900 * NS_PER_MS, "it says so at once"


def test_a_trigger_gets_the_first_frame_after_it(opened, number_of):
    camera, _ = opened
    image, _ = camera.capture(None, 2000)
    before = number_of(image)
    image, _ = camera.capture(time.monotonic_ns(), 2000)
    assert 1 <= (number_of(image) - before) % 30 <= 3


def test_a_stream_that_vanishes_is_an_error_and_can_be_opened_when_it_is_back(opened, stream):
    camera, server = opened
    camera.capture(None, 2000)
    server.vanish()
    with pytest.raises(CameraError, match="no more pictures"):
        drain(camera)
    camera.close()
    with pytest.raises(CameraError, match="cannot be opened"):
        camera.open()
    stream(server.come_back())
    camera.open()
    assert camera.capture(None, 2000) is not None


def test_a_stream_that_vanishes_is_noticed_without_asking_for_a_picture(opened):
    camera, server = opened
    camera.capture(None, 2000)
    camera.check()
    server.vanish()
    with pytest.raises(CameraError, match="no more pictures"):
        keep_checking(camera)


def test_a_silent_stream_times_out_and_recovers(opened):
    camera, server = opened
    server.silent.set()
    while camera.capture(None, 200) is not None:
        pass
    server.silent.clear()
    assert camera.capture(None, 2000) is not None


def test_closing_a_silent_stream_does_not_hang(opened):
    camera, server = opened
    server.silent.set()
    began_ns = time.monotonic_ns()
    camera.close()
    assert time.monotonic_ns() - began_ns < 2500 * NS_PER_MS


def test_another_size_is_refused_with_the_size_there_is(stream):
    with pytest.raises(CameraError, match=r"64x48 px, not 1920x1080; set camera.width_px = 64"):
        camera_on(stream().url, 1920, 1080).open()


def test_a_video_plays_like_a_camera_and_ends(video, number_of):
    """At its own rate: whoever is slow misses frames, none comes twice or out of order."""
    camera = camera_on(str(video))
    camera.open()
    numbers: list[int] = []
    with pytest.raises(EndOfPictures, match="all frames"):
        collect(camera, number_of, numbers)
    camera.close()
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 10


def test_a_truncated_video_file(video):
    video.write_bytes(video.read_bytes()[:100])
    with pytest.raises(CameraError, match=r"line\.avi"):
        camera_on(str(video)).open()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("99", "/dev/video99 does not exist"),
        ("/dev/v4l/by-id/usb-nothing", "does not exist"),
        ("no such file.avi", "neither a device"),
        ("", "neither a device"),
        ("/dev/null", "cannot be opened"),
    ],
)
def test_a_source_that_is_not_there(source, message):
    with pytest.raises(CameraError, match=message):
        camera_on(source).open()


@pytest.mark.skipif("GStreamer:                   YES" in cv2.getBuildInformation(), reason="OpenCV with GStreamer")
def test_gstreamer_needs_an_opencv_with_it():
    with pytest.raises(CameraError, match="without GStreamer"):
        camera_on("gst:videotestsrc ! appsink").open()


def test_a_password_is_not_told():
    with pytest.raises(CameraError) as raised:
        camera_on("rtsp://user:s3cret@127.0.0.1:9/stream").open()
    assert "s3cret" not in str(raised.value)
    assert "rtsp://***@127.0.0.1:9/stream" in str(raised.value)


def test_a_device_number_is_a_v4l2_path(tmp_path):
    assert parse_source("/dev/null").backend == cv2.CAP_V4L2
    assert parse_source("http://host/x").backend == cv2.CAP_FFMPEG
