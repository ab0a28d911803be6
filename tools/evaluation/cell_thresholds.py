"""Thresholds by how well cells agree with the labels: for defects whose shape counts, such as cracks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from edge_runtime.values import DefectClass
from tools.evaluate import Segmented
from tools.evaluation.cells import labelled_classes

LEVELS = 256


def choose_cell_thresholds(segmented: Iterable[Segmented], classes: Sequence[DefectClass]) -> tuple[DefectClass, ...]:
    """Each class with the threshold at which the Dice of its cells over all pictures is best, the lowest on a tie.

    A class without labelled cells keeps its threshold. Raises DatasetError for a damaged label mask.
    """
    found, right = (np.zeros((len(classes), LEVELS), np.int64) for _ in range(2))
    labelled = np.zeros(len(classes), np.int64)
    for one in segmented:
        truth = labelled_classes(one.picture.read_mask(), one.mask.stride_px)
        for index, known in enumerate(classes):
            named, true = one.mask.class_ids == known.class_id, truth == known.class_id
            found[index] += np.bincount(one.mask.scores[named], minlength=LEVELS)
            right[index] += np.bincount(one.mask.scores[named & true], minlength=LEVELS)
            labelled[index] += np.count_nonzero(true)
    reached = [np.cumsum(counts[:, ::-1], axis=1)[:, ::-1] for counts in (found, right)]
    dice = 2 * reached[1] / np.maximum(1, reached[0] + labelled[:, None])
    best = 1 + np.argmax(dice[:, 1:], axis=1)
    return tuple(
        replace(known, threshold=int(threshold)) if count else known
        for known, threshold, count in zip(classes, best, labelled, strict=True)
    )
