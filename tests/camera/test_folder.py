import cv2
import numpy as np
import pytest

from edge_runtime.camera.folder import FolderCamera
from edge_runtime.clock import ManualClock
from edge_runtime.errors import CameraError, EndOfPictures


def opened(path, loop=False, rate_hz=None):
    clock = ManualClock()
    camera = FolderCamera(path, rate_hz, loop, clock, clock.advance_ms)
    camera.open()
    return camera


def labels(camera, count):
    return [camera.capture(None, 0)[1].label for _ in range(count)]


def test_pictures_come_in_natural_order_with_their_names(folder, number_of):
    camera = opened(folder)
    taken = [camera.capture(None, 0) for _ in range(10)]
    assert [exposure.label for _, exposure in taken] == [f"{n}.png" for n in range(1, 11)]
    assert [number_of(image) for image, _ in taken] == list(range(1, 11))


def test_a_loop_starts_over(folder):
    assert labels(opened(folder, loop=True), 12)[-3:] == ["10.png", "1.png", "2.png"]


def test_one_picture(folder):
    camera = opened(folder / "3.png")
    assert labels(camera, 1) == ["3.png"]
    with pytest.raises(EndOfPictures):
        camera.capture(None, 0)


def test_video_frames_in_order_and_over_again(video, number_of):
    camera = opened(video, loop=True)
    taken = [camera.capture(None, 0) for _ in range(12)]
    assert [number_of(image) for image, _ in taken] == [*range(1, 11), 1, 2]
    assert taken[-1][1].label == "line.avi#1"


def test_a_reopened_video_goes_on_where_it_was(video, number_of):
    camera = opened(video)
    first = [number_of(camera.capture(None, 0)[0]) for _ in range(4)]
    camera.open()
    assert first + [number_of(camera.capture(None, 0)[0]) for _ in range(2)] == [1, 2, 3, 4, 5, 6]


def test_image_hw_covers_pictures_of_all_sizes(folder, picture):
    cv2.imwrite(str(folder / "tall.jpg"), picture(1, (200, 20)))
    cv2.imwrite(str(folder / "wide.bmp"), picture(1, (20, 300)))
    assert opened(folder).image_hw == (200, 300)


def test_a_broken_picture_is_told_in_its_turn_and_the_line_goes_on_behind_it(folder):
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:60])
    camera = opened(folder)
    assert labels(camera, 1) == ["1.png"]
    with pytest.raises(CameraError, match=r"2\.png"):
        camera.capture(None, 0)
    camera.close()
    camera.open()
    assert labels(camera, 8) == [f"{n}.png" for n in range(3, 11)]


def test_a_picture_that_disappears_is_told(folder):
    camera = opened(folder)
    (folder / "1.png").unlink()
    with pytest.raises(CameraError, match=r"1\.png does not exist"):
        camera.capture(None, 0)


def test_other_files_are_no_pictures(folder):
    for name in ("notes.txt", ".hidden.png", "truth.json"):
        (folder / name).write_bytes(b"x")
    (folder / "sub").mkdir()
    assert len(labels(opened(folder), 10)) == 10


def test_a_timeout_loses_no_picture(folder):
    camera = opened(folder, rate_hz=10)
    taken = [camera.capture(None, 30) for _ in range(21)]
    assert [each[1].label for each in taken if each] == [f"{n}.png" for n in range(1, 7)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "holds no picture"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_bytes(b"not a picture at all"), "not a picture"),
    ],
)
def test_a_wrong_path_is_told_at_open(tmp_path, make, message):
    make(tmp_path / "x")
    with pytest.raises(CameraError, match=message):
        opened(tmp_path / "x")


def test_a_file_that_is_no_video(tmp_path):
    path = tmp_path / "x.mp4"
    path.write_bytes(np.random.default_rng(1).bytes(5000))
    with pytest.raises(CameraError, match=r"x\.mp4"):
        opened(path)
