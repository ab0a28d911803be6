"""Made-up boards: each marked defect is really one, judged by which copper hangs together before and after."""

import hashlib
import subprocess
import sys
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.vision.boards import (
    BINARY,
    CAMERA,
    CLASS_NAMES,
    KEEP_APART_PX,
    Board,
    BoardStyle,
    TrueDefect,
    paint_board,
)

BUSY = BoardStyle(clean_share=0.0, defects_mean=25)
OPEN, SHORT, MOUSEBITE, SPUR, COPPER, PIN_HOLE = (
    next(i for i, n in CLASS_NAMES.items() if n == name)
    for name in ("open", "short", "mousebite", "spur", "copper", "pin-hole")
)


@cache
def boards() -> list[Board]:
    return [paint_board(7, index, (512, 512), BUSY) for index in range(12)]


def of_kind(kind: int) -> list[tuple[Board, TrueDefect]]:
    found = [(board, defect) for board in boards() for defect in board.defects if defect.class_id == kind]
    assert len(found) >= 10, f"too few examples of {CLASS_NAMES[kind]} to prove anything"
    return found


def changed_pixels(board: Board, defect: TrueDefect) -> np.ndarray:
    x0, y0, x1, y1 = defect.xyxy_px
    changed = np.zeros(board.mask.shape, bool)
    changed[y0:y1, x0:x1] = board.mask[y0:y1, x0:x1] > 0
    return changed


def before_and_after(board: Board, defect: TrueDefect) -> tuple[np.ndarray, np.ndarray]:
    """Copper without any defect, and with this one alone."""
    clean = board.template == 0
    return clean, clean ^ changed_pixels(board, defect)


def count_pieces(copper: np.ndarray, connectivity: int = 8) -> int:
    return cv2.connectedComponents(copper.astype(np.uint8), connectivity=connectivity)[0] - 1


def conductors_near(board: Board, defect: TrueDefect, reach_px: int) -> int:
    parts = cv2.connectedComponents((board.template == 0).astype(np.uint8), connectivity=8)[1]
    kernel = np.ones((2 * reach_px + 1,) * 2, np.uint8)
    near = cv2.dilate(changed_pixels(board, defect).astype(np.uint8), kernel) > 0
    return len(set(np.unique(parts[near]).tolist()) - {0})


def test_an_open_parts_one_conductor_in_two():
    for board, defect in of_kind(OPEN):
        before, after = before_and_after(board, defect)
        assert not (after & ~before).any()
        assert conductors_near(board, defect, 1) == 1
        assert count_pieces(after) == count_pieces(before) + 1


def test_a_short_makes_one_conductor_of_two():
    for board, defect in of_kind(SHORT):
        before, after = before_and_after(board, defect)
        assert not (before & ~after).any()
        assert count_pieces(after) == count_pieces(before) - 1


def test_a_mousebite_nibbles_an_edge_and_parts_nothing():
    for board, defect in of_kind(MOUSEBITE):
        before, after = before_and_after(board, defect)
        assert not (after & ~before).any()
        assert count_pieces(after) == count_pieces(before)
        assert count_pieces(~after, 4) == count_pieces(~before, 4), "a bite opens to bare laminate: it makes no hole"


def test_a_spur_grows_from_one_conductor_and_reaches_no_other():
    for board, defect in of_kind(SPUR):
        before, after = before_and_after(board, defect)
        assert not (before & ~after).any()
        assert conductors_near(board, defect, 1) == conductors_near(board, defect, 4) == 1
        assert count_pieces(after) == count_pieces(before)
        assert count_pieces(~after, 4) == count_pieces(~before, 4), "a spur has a free end: it closes no ring"


def test_spurious_copper_touches_nothing():
    for board, defect in of_kind(COPPER):
        before, after = before_and_after(board, defect)
        assert not (before & ~after).any()
        assert count_pieces(after) == count_pieces(before) + 1
        assert conductors_near(board, defect, 4) == 0


def test_a_pin_hole_is_surrounded_by_copper():
    for board, defect in of_kind(PIN_HOLE):
        before, after = before_and_after(board, defect)
        assert not (after & ~before).any()
        assert count_pieces(~after, 4) == count_pieces(~before, 4) + 1
        assert count_pieces(after) == count_pieces(before)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    index=st.integers(0, 2**40),
    image_hw=st.tuples(st.integers(64, 500), st.integers(64, 500)),
)
def test_truth_and_picture_agree(seed, index, image_hw):
    """Boxes are the tight boxes of the mask's pieces, lie apart; only marked pixels differ from the template."""
    board = paint_board(seed, index, image_hw, BoardStyle(**{**vars(BINARY), "defects_mean": 8, "clean_share": 0.1}))
    assert board.image.shape == (*image_hw, 3)
    assert board.image.flags.c_contiguous
    assert board.mask.shape == board.template.shape == image_hw
    np.testing.assert_array_equal(board.image[..., 0] != board.template, board.mask > 0)
    count, _, stats, _ = cv2.connectedComponentsWithStats((board.mask > 0).astype(np.uint8), connectivity=8)
    boxes = {(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:].tolist()}
    assert {d.xyxy_px for d in board.defects} == boxes
    assert len(board.defects) == count - 1
    for defect in board.defects:
        x0, y0, x1, y1 = defect.xyxy_px
        assert set(np.unique(board.mask[y0:y1, x0:x1]).tolist()) - {0} == {defect.class_id}
    assert all(gap_px(a, b) >= KEEP_APART_PX for a in boxes for b in boxes if a != b)


def gap_px(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return max(a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3])


def test_clean_share_one_gives_only_clean_boards():
    clean = [paint_board(1, i, (200, 200), BoardStyle(clean_share=1.0)) for i in range(10)]
    assert all(not board.defects and not board.mask.any() for board in clean)


def test_clean_share_is_the_share_of_clean_boards():
    share = sum(not paint_board(1, i, (256, 256), BoardStyle(clean_share=0.5)).defects for i in range(100)) / 100
    assert 0.35 < share < 0.65


def test_defects_mean_is_met_where_there_is_room():
    counts = [len(paint_board(3, i, (900, 900), BoardStyle(clean_share=0.0)).defects) for i in range(15)]
    assert 4.0 < sum(counts) / 15 < 8.0


def fingerprint(board: Board) -> str:
    planes = (board.image, board.mask, board.template)
    return hashlib.sha256(b"".join(plane.tobytes() for plane in planes) + repr(board.defects).encode()).hexdigest()


def test_same_board_in_another_process():
    code = (
        "import hashlib; from edge_runtime.vision.boards import paint_board; b = paint_board(5, 9, (300, 400));"
        "planes = (b.image, b.mask, b.template);"
        "print(hashlib.sha256(b''.join(p.tobytes() for p in planes) + repr(b.defects).encode()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == fingerprint(paint_board(5, 9, (300, 400)))


def test_seed_index_and_size_each_matter():
    variants = [(5, 9, (300, 400)), (6, 9, (300, 400)), (5, 10, (300, 400)), (5, 9, (400, 300))]
    assert len({fingerprint(paint_board(*variant)) for variant in variants}) == 4


def test_the_camera_style_looks_like_a_camera():
    """Grey, many levels, noise on flat laminate, soft edges; copper and laminate still apart."""
    board = paint_board(11, 0, (640, 640), CAMERA)
    grey = board.image[..., 0]
    assert (board.image == grey[..., None]).all()
    assert len(np.unique(grey)) > 60
    kernel = np.ones((7, 7), np.uint8)
    copper = cv2.erode((board.template == 0).astype(np.uint8), kernel) > 0
    laminate = cv2.erode((board.template > 0).astype(np.uint8), kernel) > 0
    unmarked = board.mask == 0
    assert np.median(grey[copper & unmarked]) - np.median(grey[laminate & unmarked]) > 30
    assert grey[laminate & unmarked].std() > 2


def test_the_binary_style_has_two_levels():
    assert np.unique(paint_board(11, 0, (200, 200), BINARY).image).tolist() == [0, 255]


@pytest.mark.parametrize("image_hw", [(64, 64), (64, 2500), (2500, 64), (65, 67)])
def test_odd_sizes(image_hw):
    assert paint_board(1, 2, image_hw).image.shape == (*image_hw, 3)


@pytest.mark.parametrize("image_hw", [(63, 640), (640, 8193)])
def test_sizes_out_of_range_are_refused(image_hw):
    with pytest.raises(ValueError, match=r"64\.\.8192"):
        paint_board(1, 2, image_hw)


@pytest.mark.parametrize("wrong", [{"clean_share": 1.1}, {"noise_sigma": -1}, {"track_px": (20, 10)}])
def test_styles_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        BoardStyle(**wrong)
