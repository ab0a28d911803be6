"""How well a network segments held-out pictures, cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tools.crops import coarse_mask, to_input
from tools.dataset import Dataset, GreyU8, Picture
from tools.networks import TOTAL_STRIDE_PX
from tools.paddle_first import cv2, paddle

PICTURES_PER_DATASET = 32


def mean_iou(network: Any, datasets: Sequence[Dataset]) -> float:
    """Intersection over union of the likeliest class, mean over the defect classes that occur."""
    class_count = len(datasets[0].class_names) + 1
    confusion = np.zeros((class_count, class_count), np.int64)
    for dataset in datasets:
        for picture in dataset.pictures[:PICTURES_PER_DATASET]:
            confusion += _confusion(network, picture, class_count)
    hits = np.diag(confusion)[1:]
    union = confusion.sum(axis=0)[1:] + confusion.sum(axis=1)[1:] - hits
    return float(np.mean(hits[union > 0] / union[union > 0])) if (union > 0).any() else 0.0


def _confusion(network: Any, picture: Picture, class_count: int) -> npt.NDArray[np.int64]:
    image, mask = (_whole_strides(plane) for plane in (picture.read_image(), picture.read_mask()))
    with paddle.no_grad():
        logits = network(paddle.to_tensor(to_input(image)[None, None]))
        found = paddle.argmax(logits, axis=1).numpy()[0]
    pairs = coarse_mask(mask).astype(np.int64) * class_count + found
    return np.bincount(pairs.ravel(), minlength=class_count**2).reshape(class_count, class_count)


def _whole_strides(plane: GreyU8) -> GreyU8:
    below, right = (-length % TOTAL_STRIDE_PX for length in plane.shape)
    return np.asarray(cv2.copyMakeBorder(plane, 0, below, 0, right, cv2.BORDER_REFLECT_101), np.uint8)
