"""How well a network segments held-out pictures, cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import lcm

import cv2
import numpy as np
import numpy.typing as npt

from tools.crops import coarse_mask, to_input
from tools.dataset import Dataset, GreyU8, Picture
from tools.graph import FloatArray, Graph

PICTURES_PER_DATASET = 32
Predict = Callable[[FloatArray], FloatArray]


def mean_iou(predict: Predict, graph: Graph, datasets: Sequence[Dataset]) -> float:
    """Intersection over union of the likeliest class, mean over the defect classes that occur.

    `predict` gives logits for images; a network of two input channels is shown the registered template too.
    """
    confusion = sum(
        _confusion(predict, graph, picture)
        for dataset in datasets
        for picture in dataset.pictures[:PICTURES_PER_DATASET]
    )
    hits = np.diag(confusion)[1:]
    union = np.sum(confusion, axis=0)[1:] + np.sum(confusion, axis=1)[1:] - hits
    return float(np.mean(hits[union > 0] / union[union > 0])) if (union > 0).any() else 0.0


def _confusion(predict: Predict, graph: Graph, picture: Picture) -> npt.NDArray[np.int64]:
    stride_px = lcm(graph.total_stride_px, graph.output_stride_px)
    planes = [_whole_strides(plane, stride_px) for plane in picture.read_planes(graph.input_channels == 2)]
    found = predict(to_input(np.stack(planes))[None]).argmax(axis=1)[0]
    mask = coarse_mask(_whole_strides(picture.read_mask(), stride_px), graph.output_stride_px)
    pairs = mask.astype(np.int64) * graph.class_count + found
    return np.bincount(pairs.ravel(), minlength=graph.class_count**2).reshape((graph.class_count,) * 2)


def _whole_strides(plane: GreyU8, stride_px: int) -> GreyU8:
    below, right = (-length % stride_px for length in plane.shape)
    return np.asarray(cv2.copyMakeBorder(plane, 0, below, 0, right, cv2.BORDER_REFLECT_101), np.uint8)
