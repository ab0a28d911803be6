"""The code in its region is read as it is, or not at all."""

import numpy as np
import pytest

from edge_runtime.vision.codes import CodeReader
from tests.vision.codes import ean13, picture, put, qr

WHOLE = (0, 0, 400, 400)


def noisy(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, 8, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("text", ["BOARD-A", "1", "a/b c:d", "https://example.org/part?x=1"])
def test_a_qr_code_is_read(text):
    assert CodeReader("qr", WHOLE).read(noisy(put(picture(), qr(text), 40, 60))) == text


@pytest.mark.parametrize(("digits", "text"), [("400638133393", "4006381333931"), ("978020137962", "9780201379624")])
def test_a_barcode_is_read(digits, text):
    assert CodeReader("barcode", WHOLE).read(noisy(put(picture(), ean13(digits), 40, 120))) == text


@pytest.mark.parametrize("kind", ["qr", "barcode"])
def test_a_picture_without_a_code_has_none(kind):
    assert CodeReader(kind, WHOLE).read(noisy(picture())) is None


def test_only_the_region_is_looked_at():
    image = put(picture(), qr("BOARD-A"), 40, 60)
    x1, y1 = 40 + qr("BOARD-A").shape[1], 60 + qr("BOARD-A").shape[0]
    assert CodeReader("qr", (30, 50, x1 + 10, y1 + 10)).read(image) == "BOARD-A"
    assert CodeReader("qr", (x1 + 10, 0, 400, 400)).read(image) is None


@pytest.mark.parametrize("xyxy_px", [(400, 0, 500, 100), (0, 900, 10, 910), (399, 399, 600, 600)])
def test_a_region_outside_the_picture_has_no_code(xyxy_px):
    assert CodeReader("qr", xyxy_px).read(put(picture(), qr("BOARD-A"), 40, 60)) is None


def test_two_codes_that_differ_are_none_and_two_that_agree_are_one():
    reader = CodeReader("qr", WHOLE)
    first = put(picture(), qr("BOARD-A", 4), 20, 20)
    assert reader.read(put(first.copy(), qr("BOARD-B", 4), 240, 240)) is None
    assert reader.read(put(first.copy(), qr("BOARD-A", 4), 240, 240)) == "BOARD-A"


def test_a_damaged_code_is_none_or_itself_and_never_another():
    random = np.random.default_rng(3)
    texts = set()
    for _ in range(30):
        code = qr("BOARD-A")
        x, y = random.integers(0, code.shape[1] - 40), random.integers(0, code.shape[0] - 40)
        code[y : y + 40, x : x + 40] = random.integers(0, 2, (40, 40)) * 255
        texts.add(CodeReader("qr", WHOLE).read(put(picture(), code, 40, 60)))
    assert texts <= {None, "BOARD-A"}
