"""Found boxes against known ones: one to one, surest first, same class, enough overlap."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.vision.matching import iou, match_boxes, padded

sides = st.integers(0, 30)
boxes = st.builds(lambda x, y, w, h: (x, y, x + w + 1, y + h + 1), sides, sides, sides, sides)
known_boxes = st.lists(st.tuples(st.integers(1, 3), boxes), max_size=8)
found_boxes = st.lists(st.tuples(st.integers(1, 3), boxes, st.floats(0, 1)), max_size=8)


def cells(box: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}


@given(boxes, boxes)
def test_iou_is_shared_cells_over_all_cells(a, b):
    assert iou(a, b) == len(cells(a) & cells(b)) / len(cells(a) | cells(b)) == iou(b, a)


@given(found_boxes, known_boxes, st.floats(0, 0.9))
def test_each_known_box_is_hit_at_most_once_by_its_class_with_enough_overlap(found, known, iou_above):
    hits = match_boxes(found, known, iou_above)
    taken = [hit for hit in hits if hit is not None]
    assert len(hits) == len(found)
    assert len(taken) == len(set(taken))
    for (key, box, _), hit in zip(found, hits, strict=True):
        if hit is not None:
            assert known[hit][0] == key
            assert iou(box, known[hit][1]) > iou_above


@given(found_boxes, known_boxes, st.floats(0, 0.9))
def test_no_found_box_stays_without_a_hit_while_a_fitting_known_one_is_free(found, known, iou_above):
    hits = match_boxes(found, known, iou_above)
    free = set(range(len(known))) - set(hits)
    for (key, box, _), hit in zip(found, hits, strict=True):
        fitting = {k for k in free if known[k][0] == key and iou(box, known[k][1]) > iou_above}
        assert hit is not None or not fitting


def test_the_surest_chooses_first():
    known = [(1, (0, 0, 10, 10))]
    found = [(1, (0, 0, 10, 9), 0.5), (1, (0, 0, 10, 8), 0.9)]
    assert match_boxes(found, known, 1 / 3) == [None, 0]


def test_padding_grows_every_side():
    assert padded((5, 6, 7, 8), 10) == (-5, -4, 17, 18)
