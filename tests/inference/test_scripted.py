"""The scripted segmenter does what the picture says, accidents included."""

import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_runtime.errors import InferenceError
from edge_runtime.inference.scripted import ScriptedSegmenter
from edge_runtime.values import InputContract

GRAY = InputContract("GRAY", (0.4,), (0.21,), 16, 4, 0)
RGB = InputContract("RGB", (0.1, 0.5, 0.9), (0.2, 0.5, 2.0), 16, 4, 0)
CHILD = """
import sys, numpy as np
from edge_runtime.inference.scripted import ScriptedSegmenter
from edge_runtime.values import InputContract
tile = np.zeros((16, 16, 3), np.uint8)
tile[3, 7] = int(sys.argv[1])
segmenter = ScriptedSegmenter(InputContract("GRAY", (0.0,), (1.0,), 16, 4, 0), 2)
print("ready", flush=True)
segmenter.predict(tile)
print("answered", flush=True)
"""


def tile_of(grey):
    """`grey` uint8 (16, 16) as the segmenter gets it."""
    return np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))


def one_pixel(value):
    grey = np.zeros((16, 16), np.uint8)
    grey[3, 7] = value
    return tile_of(grey)


@pytest.mark.parametrize("contract", [GRAY, RGB], ids=["gray", "rgb"])
@pytest.mark.parametrize("stride", [1, 2, 4])
@settings(max_examples=40, deadline=None)
@given(grey=arrays(np.uint8, (16, 16), elements=st.integers(98, 109) | st.integers(0, 240)))
def test_each_cell_has_the_highest_class_of_its_own_pixels(contract, stride, grey):
    class_ids, scores = ScriptedSegmenter(contract, stride).predict(tile_of(grey))
    side = 16 // stride
    for y in range(side):
        for x in range(side):
            block = grey[y * stride : (y + 1) * stride, x * stride : (x + 1) * stride]
            best = max((int(value) - 100 for value in block.flat if 101 <= value <= 106), default=0)
            assert (class_ids[y, x], scores[y, x]) == (best, 255 if best else 0)


@given(
    arrays(np.uint8, (16, 16), elements=st.integers(99, 107)), arrays(np.uint8, (16, 16), elements=st.integers(99, 107))
)
def test_what_equals_the_template_is_background(grey, template):
    contract = replace(GRAY, template=True)
    class_ids, _ = ScriptedSegmenter(contract, 1).predict(tile_of(grey), template)
    expected = np.where((grey != template) & (grey > 100) & (grey < 107), grey - 100, 0)
    assert np.array_equal(class_ids, expected)


def test_classes_it_was_not_given_are_background():
    segmenter = ScriptedSegmenter(GRAY, 1, classes=(2,))
    assert segmenter.predict(one_pixel(101))[0].max() == 0
    assert segmenter.predict(one_pixel(102))[0].max() == 2


def test_every_grey_value_survives_preprocessing():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    grey[grey > 240] = 0
    class_ids, _ = ScriptedSegmenter(GRAY, 1).predict(tile_of(grey))
    assert {int(v): int(c) for v, c in zip(grey.flat, class_ids.flat, strict=True) if c} == {
        100 + class_id: class_id for class_id in range(1, 7)
    }


def test_grey_244_answers_rubbish():
    class_ids, scores = ScriptedSegmenter(GRAY, 2).predict(one_pixel(244))
    assert class_ids.shape != (8, 8)
    assert scores.shape != (8, 8)


@pytest.mark.parametrize(("grey", "signal_number"), [(241, signal.SIGSEGV), (242, signal.SIGABRT)])
def test_greys_241_and_242_kill_the_process(grey, signal_number):
    done = subprocess.run([sys.executable, "-c", CHILD, str(grey)], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (-signal_number, b"ready\n")


def test_grey_243_never_answers():
    with subprocess.Popen([sys.executable, "-c", CHILD, "243"], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=0.3)
        child.kill()
        assert child.stdout.read() == b""


def elapsed_ms(segmenter, tile, clock=time.monotonic_ns):
    started_ns = clock()
    segmenter.predict(tile)
    return (clock() - started_ns) / 1e6


def test_a_tile_takes_predict_ms_and_grey_245_twenty_times_that():
    segmenter = ScriptedSegmenter(GRAY, 2, predict_ms=5.0)
    assert 5.0 <= elapsed_ms(segmenter, one_pixel(0)) < 95.0
    assert elapsed_ms(segmenter, one_pixel(245)) >= 100.0


def test_busy_takes_processor_time():
    busy, asleep = (ScriptedSegmenter(GRAY, 2, predict_ms=20.0, busy=busy) for busy in (True, False))
    assert elapsed_ms(busy, one_pixel(0), time.thread_time_ns) >= 20.0
    assert elapsed_ms(asleep, one_pixel(0), time.thread_time_ns) < 15.0


@pytest.mark.parametrize(
    "options", [{"mask_stride_px": 3}, {"mask_stride_px": 0}, {"mask_stride_px": 2, "classes": (7,)}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(InferenceError, match=r"must divide tile_px 16|allowed are \[1, 2, 3, 4, 5, 6\]"):
        ScriptedSegmenter(GRAY, **options)
