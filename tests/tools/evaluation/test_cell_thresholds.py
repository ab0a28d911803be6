"""Thresholds by cells against trying every one of them."""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.values import DefectClass, Mask
from tools.evaluate import Segmented
from tools.evaluation.cell_thresholds import choose_cell_thresholds
from tools.evaluation.cells import cell_confusion

CLASSES = (DefectClass(1, "crack", (0, 0, 255), 128), DefectClass(2, "dark", (0, 255, 0), 77))


@dataclass(frozen=True)
class Labelled:
    """A picture whose labels lie in memory."""

    truth: np.ndarray

    def read_mask(self) -> np.ndarray:
        return self.truth


def segmented(seed: int, classes_labelled: int) -> Segmented:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes_labelled + 1, (16, 16), np.uint8)
    ids, scores = rng.integers(1, 3, (8, 8), np.uint8), rng.integers(0, 256, (8, 8), np.uint8)
    return Segmented(Labelled(truth), 0, Mask(ids, scores, 2))  # type: ignore[arg-type]


def dice(pictures: list[Segmented], index: int, threshold: int) -> float:
    classes = [replace(known, threshold=threshold) for known in CLASSES]
    confusion = sum(cell_confusion(one.mask, one.picture.read_mask(), classes) for one in pictures)
    right, row, column = confusion[index, index], confusion[index].sum(), confusion[:, index].sum()
    return 2 * right / max(1, row + column)


@given(st.integers(0, 10_000))
def test_no_other_threshold_gives_a_better_dice(seed: int) -> None:
    pictures = [segmented(seed, 2), segmented(seed + 1, 2)]
    chosen = choose_cell_thresholds(pictures, CLASSES)
    for index, known in enumerate(chosen, 1):
        tried = [dice(pictures, index, threshold) for threshold in range(1, 256)]
        assert dice(pictures, index, known.threshold) == max(tried)


def test_a_class_without_labels_keeps_its_threshold() -> None:
    chosen = choose_cell_thresholds([segmented(3, 1)], CLASSES)
    assert chosen[1] == CLASSES[1]
    assert chosen[0].threshold != CLASSES[0].threshold
