"""Small labelled pictures that the scripted segmenter reads, and the shipped bundle."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import settings

from edge_runtime.inference.bundle import load_bundle
from edge_runtime.vision.boards import CAMERA
from tools.synthesize import write_boards

SHIPPED_BUNDLE = Path(__file__).parents[3] / "opt_models" / "board-unet" / "3"
SIDE_PX = 128

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def shipped_folder():
    return SHIPPED_BUNDLE


@pytest.fixture(scope="session")
def shipped(shipped_folder):
    return load_bundle(shipped_folder)


@pytest.fixture(scope="session")
def make_data(tmp_path_factory, shipped):
    """`make_data(pictures, names)`: a data set of 128 px pictures.

    `pictures` maps a name to (painted, labelled), lists of (class id, x0, y0, x1, y1). What is painted is what the
    scripted segmenter finds.
    """
    all_names = {known.class_id: known.name for known in shipped.classes}

    def make(pictures, names=None):
        root = tmp_path_factory.mktemp("data")
        for plane in ("image", "mask"):
            (root / plane).mkdir(parents=True, exist_ok=True)
        images, annotations = [], []
        for index, (name, (painted, labelled)) in enumerate(pictures.items()):
            for plane, boxes, base in (("image", painted, 100), ("mask", labelled, 0)):
                cv2.imwrite(str(root / plane / f"{name}.png"), plane_with(boxes, base))
            file = {"file_name": f"image/{name}.png", "mask": f"mask/{name}.png"}
            images.append({"id": index, **file, "width": SIDE_PX, "height": SIDE_PX})
            annotations += [
                {"image_id": index, "category_id": class_id, "bbox": [x0, y0, x1 - x0, y1 - y0]}
                for class_id, x0, y0, x1, y1 in labelled
            ]
        categories = [{"id": class_id, "name": name} for class_id, name in (names or all_names).items()]
        labels = {"categories": categories, "images": images, "annotations": annotations}
        (root / "annotations.json").write_text(json.dumps(labels))
        return root

    return make


def plane_with(boxes, base):
    plane = np.full((SIDE_PX, SIDE_PX), 10 if base else 0, np.uint8)
    for class_id, x0, y0, x1, y1 in boxes:
        plane[y0:y1, x0:x1] = base + class_id
    return plane


@pytest.fixture(scope="session")
def painted_board(tmp_path_factory):
    """One made-up board of 320 px with defects."""
    folder = tmp_path_factory.mktemp("board")
    write_boards(folder, seed=3, count=1, side_px=320, style=replace(CAMERA, defects_mean=8.0, clean_share=0.0))
    return folder
