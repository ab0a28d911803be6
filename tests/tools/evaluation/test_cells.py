import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.values import DefectClass, Mask
from tools.evaluation.cells import cell_confusion, cell_scores, labelled_classes

CLASSES = [DefectClass(3, "open", (0, 0, 0), 100), DefectClass(1, "short", (0, 0, 0), 200)]
IDS = np.array([0, 3, 1], np.uint8)


def random_case(seed):
    rng = np.random.default_rng(seed)
    truth = IDS[rng.integers(0, 3, (9, 7))]
    found = IDS[rng.integers(0, 3, (5, 4))]
    return truth, Mask(found, rng.integers(0, 256, (5, 4)).astype(np.uint8), 2)


@given(st.integers(0, 2**32 - 1).map(random_case))
def test_every_cell_is_counted_where_it_belongs(case):
    truth, mask = case
    confusion = cell_confusion(mask, truth, CLASSES)
    wanted = np.zeros((3, 3), int)
    for (row, column), class_id in np.ndenumerate(mask.class_ids):
        pixels = truth[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        enough = {0: 256, 3: 100, 1: 200}[int(class_id)]
        found = int(class_id) if mask.scores[row, column] >= enough else 0
        wanted[[0, 3, 1].index(int(pixels.max())), [0, 3, 1].index(found)] += 1
    assert confusion.tolist() == wanted.tolist()


@given(st.integers(0, 2**32 - 1).map(random_case))
def test_iou_and_dice_are_one_measure(case):
    truth, mask = case
    for scores in cell_scores([cell_confusion(mask, truth, CLASSES)] * 2, CLASSES, "all").values():
        assert scores.dice == pytest.approx(2 * scores.iou / (1 + scores.iou))


def test_a_faultless_mask_scores_one_and_all_means_any_defect():
    truth = IDS[np.random.default_rng(1).integers(0, 3, (8, 8))]
    faultless = Mask(truth, np.full_like(truth, 255), 1)
    assert {one.iou for one in cell_scores([cell_confusion(faultless, truth, CLASSES)], CLASSES, "all").values()} == {1}
    swapped = Mask(np.array([0, 3, 0, 1], np.uint8)[truth], np.full_like(truth, 255), 1)
    scores = cell_scores([cell_confusion(swapped, truth, CLASSES)], CLASSES, "all")
    assert (scores["all"].iou, scores["open"].iou, scores["short"].iou) == (1.0, 0.0, 0.0)


def test_pictures_are_counted_together():
    truth = np.array([[3, 3, 3, 0]], np.uint8)
    masks = [Mask(truth, np.full((1, 4), score, np.uint8), 1) for score in (255, 0)]
    scores = cell_scores([cell_confusion(mask, truth, CLASSES) for mask in masks], CLASSES, "all")
    assert (scores["open"].right, scores["open"].found, scores["open"].labelled) == (3, 3, 6)


def test_thin_labels_survive_and_the_last_cells_may_overhang():
    truth = np.zeros((5, 5), np.uint8)
    truth[4, 4] = 3
    assert labelled_classes(truth, 2).tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 3]]


@pytest.mark.parametrize(("truth", "message"), [(np.zeros((9, 9)), "do not fit"), (np.full((2, 2), 7), "class id")])
def test_labels_that_do_not_belong_are_refused(truth, message):
    mask = Mask(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), 1)
    with pytest.raises(ValueError, match=message):
        cell_confusion(mask, truth.astype(np.uint8), CLASSES)
