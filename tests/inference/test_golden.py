"""The comparison of an answer with the golden mask."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_runtime.errors import BundleError
from edge_runtime.inference.golden import GoldenTile, compare, decode_png, encode_png
from edge_runtime.values import DefectClass, Mask

CLASSES = (DefectClass(1, "one", (0, 0, 255), 100), DefectClass(2, "two", (0, 255, 0), 200))
PLANES = arrays(np.uint8, (3, 3), elements=st.integers(0, 255))
IDS = arrays(np.uint8, (3, 3), elements=st.integers(0, 2))


def one_cell(class_id, score):
    return Mask(np.array([[class_id]], np.uint8), np.array([[score]], np.uint8), 2)


@pytest.mark.parametrize(
    ("answer", "golden", "passed"),
    [
        ((1, 150), (1, 152), True),
        ((1, 150), (1, 153), False),
        ((1, 99), (1, 101), True),
        ((2, 150), (1, 150), False),
        ((1, 150), (2, 150), False),
        ((0, 150), (1, 150), False),
        ((1, 150), (0, 150), False),
        ((2, 60), (1, 60), True),
        ((0, 255), (0, 255), True),
        ((7, 1), (0, 1), False),
    ],
)
def test_defect_cells_need_the_class_and_all_cells_the_score(answer, golden, passed):
    assert compare("t", one_cell(*answer), one_cell(*golden), CLASSES).passed is passed


@given(IDS, PLANES, IDS, PLANES)
def test_the_report_counts_what_a_loop_over_the_cells_counts(ids_a, scores_a, ids_b, scores_b):
    report = compare("t", Mask(ids_a, scores_a, 2), Mask(ids_b, scores_b, 2), CLASSES)
    limits = {0: 256, 1: 100, 2: 200}
    cells = [tuple(map(int, cell)) for cell in zip(ids_a.flat, scores_a.flat, ids_b.flat, scores_b.flat, strict=True)]
    wrong = sum(i != k and (s >= limits[i] or t >= limits[k]) for i, s, k, t in cells)
    assert report.wrong_cells == wrong
    assert report.max_score_difference == max(abs(s - t) for _, s, _, t in cells)
    assert report.equal_share == pytest.approx(sum((i, s) == (k, t) for i, s, k, t in cells) / 9)


@given(arrays(np.uint8, (5, 5)), arrays(np.uint8, (5, 5, 3)))
def test_png_gives_back_every_value(plane, picture):
    assert np.array_equal(decode_png(encode_png(plane), 5, 1, "p"), plane)
    assert np.array_equal(decode_png(encode_png(picture), 5, 3, "p"), picture)


@pytest.mark.parametrize(
    "data",
    [
        encode_png(np.zeros((4, 5), np.uint8)),
        encode_png(np.zeros((5, 5, 3), np.uint8)),
        encode_png(np.zeros((5, 5), np.uint8))[:40],
        b"\x89PNG\r\n\x1a\n",
        b"",
        b"GIF89a",
    ],
)
def test_another_picture_is_refused_by_name(data):
    with pytest.raises(BundleError, match=r"golden/0\.png: .*PNG"):
        decode_png(data, 5, 1, "golden/0.png")


def test_a_golden_tile_is_a_bgr_picture():
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\)"):
        GoldenTile(np.zeros((8, 8), np.uint8), one_cell(0, 0))


@pytest.mark.parametrize(
    "template", [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9), np.uint8), np.zeros((8, 8), np.float32)]
)
def test_a_golden_tiles_template_is_a_grey_plane_of_its_size(template):
    with pytest.raises(ValueError, match=r"template must be grey uint8 \(8, 8\)"):
        GoldenTile(np.zeros((8, 8, 3), np.uint8), one_cell(0, 0), template)
