import numpy as np
import pytest

from edge_runtime.camera.synthetic import SyntheticCamera
from edge_runtime.clock import ManualClock
from edge_runtime.errors import CameraError
from edge_runtime.vision.boards import BINARY, paint_board

HW = (96, 128)


def shown(camera, count):
    taken = [camera.capture(None, 0) for _ in range(count)]
    return [(image, exposure.label) for image, exposure in taken]


def test_the_label_gives_the_truth_again():
    camera = SyntheticCamera(HW, 5, BINARY, clock=ManualClock(), first_index=40)
    camera.open()
    for image, label in shown(camera, 3):
        seed, index = map(int, label.split("/"))
        np.testing.assert_array_equal(image, paint_board(seed, index, HW, BINARY).image)
    assert label == "5/42"


def test_distinct_boards_are_shown_over_and_over_under_their_own_labels():
    camera = SyntheticCamera(HW, 5, clock=ManualClock(), distinct=2)
    camera.open()
    pictures = shown(camera, 5)
    assert [label for _, label in pictures] == ["5/0", "5/1", "5/0", "5/1", "5/0"]
    for image, label in pictures:
        np.testing.assert_array_equal(image, paint_board(5, int(label[2:]), HW).image)


def test_too_many_distinct_boards_are_refused():
    with pytest.raises(CameraError, match="lower distinct"):
        SyntheticCamera((8192, 8192), 1, clock=ManualClock(), distinct=10).open()


def test_a_reopened_camera_goes_on_with_the_next_board():
    camera = SyntheticCamera(HW, 5, clock=ManualClock())
    camera.open()
    first = shown(camera, 2)
    camera.close()
    camera.open()
    assert [label for _, label in first + shown(camera, 2)] == ["5/0", "5/1", "5/2", "5/3"]


def test_a_timeout_loses_no_board():
    clock = ManualClock()
    camera = SyntheticCamera(HW, 5, rate_hz=10, clock=clock, wait_ms=clock.advance_ms)
    camera.open()
    labels = [taken[1].label for taken in (camera.capture(None, 30) for _ in range(21)) if taken is not None]
    assert labels == [f"5/{index}" for index in range(len(labels))]
    assert len(labels) == 6
