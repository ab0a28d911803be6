"""The belt camera sees the part in front of it at the exposure, and no other."""

import numpy as np
import pytest

from edge_runtime.camera.belt import BeltCamera, BeltScript, InView, paint, read_script, write_script
from edge_runtime.clock import NS_PER_MS, ManualClock
from edge_runtime.errors import CameraError

MS = NS_PER_MS
VIEWS = (InView(100 * MS, 140 * MS, 1, False), InView(200 * MS, 240 * MS, 2, True))
SCRIPT = BeltScript(VIEWS, ((900 * MS, 910 * MS),))


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def camera(tmp_path, clock):
    camera = BeltCamera(tmp_path / "script", (64, 96), 200, clock, wait_ms=clock.advance_ms)
    camera.open()
    return camera


def test_a_script_comes_back_as_it_was_written(tmp_path):
    write_script(tmp_path / "script", SCRIPT)
    assert read_script(tmp_path / "script") == SCRIPT


@pytest.mark.parametrize(
    ("trigger_ms", "label", "defective"),
    [(99.9, "belt/1", False), (134, "belt/1", False), (136, "belt/none", None), (201, "belt/2", True)],
)
def test_the_first_exposure_after_the_trigger_shows_what_lies_there_then(
    camera, clock, tmp_path, trigger_ms, label, defective
):
    write_script(tmp_path / "script", SCRIPT)
    clock.advance_ms(400)
    image, exposure = camera.capture(round(trigger_ms * MS), 10)
    assert exposure.label == label
    assert exposure.captured_ns == -(-round(trigger_ms * MS) // (5 * MS)) * 5 * MS
    np.testing.assert_array_equal(image, paint((64, 96), defective))


def test_the_belt_is_empty_until_the_script_is_there(camera, clock, tmp_path):
    clock.advance_ms(250)
    assert camera.capture(120 * MS, 10)[1].label == "belt/none"
    write_script(tmp_path / "script", SCRIPT)
    assert camera.capture(120 * MS, 10)[1].label == "belt/1"


def test_it_waits_for_an_exposure_to_come_and_has_forgotten_one_of_long_ago(camera, clock, tmp_path):
    write_script(tmp_path / "script", SCRIPT)
    assert camera.capture(198 * MS, 300)[1].label == "belt/2"
    assert clock.monotonic_ns() == 200 * MS
    clock.advance_ms(1500)
    assert camera.capture(205 * MS, 300) is None


def test_pictures_that_show_two_parts_are_refused():
    with pytest.raises(ValueError, match="at the same time"):
        BeltScript((InView(0, 10, 1, False), InView(9, 20, 2, False)))


@pytest.mark.parametrize("text", ["", "{}", '{"views": [[1]], "hangs": []}', "[]"])
def test_a_file_that_is_no_script_is_named(camera, tmp_path, text):
    (tmp_path / "script").write_text(text)
    with pytest.raises(CameraError, match="not a belt's script"):
        camera.capture(None, 10)


def test_the_script_says_when_the_driver_hangs():
    assert [SCRIPT.hangs_at(at_ms * MS) for at_ms in (899, 900, 909, 910)] == [False, True, True, False]
