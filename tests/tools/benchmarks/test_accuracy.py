"""F of a contender is what its pictures and labels say, whoever it is."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.inference.bundle import load_bundle
from tools.architectures.choice import build_network
from tools.benchmarks.accuracy import AccuracyWish, bench_accuracy, read_accuracy
from tools.benchmarks.output import deliver
from tools.benchmarks.peer_networks import classic_task, common_size
from tools.benchmarks.report import Clerk, to_json
from tools.errors import ToolError
from tools.graph import initial_weights
from tools.network_file import save_network

SIDE_PX = 128
OPEN, SHORT = (1, 20, 20, 40, 40), (2, 80, 80, 100, 100)


@pytest.fixture(scope="module")
def bundle_folder():
    return max((Path(__file__).parents[3] / "opt_models" / "board-unet").iterdir(), key=lambda path: int(path.name))


@pytest.fixture
def data(tmp_path, bundle_folder):
    """Of three labelled defects the scripted segmenter finds two, and one that is none."""
    names = {known.class_id: known.name for known in load_bundle(bundle_folder).classes}
    others = [(class_id, 60, 60, 80, 80) for class_id in names if class_id > 2]
    pictures = {"a": ([OPEN, SHORT], [OPEN]), "b": ([OPEN], [OPEN, SHORT])}
    pictures |= {str(box[0]): ([box], [box]) for box in others}
    images, annotations = [], []
    for index, (name, (painted, labelled)) in enumerate(pictures.items()):
        for kind, boxes, base in (("image", painted, 100), ("mask", labelled, 0)):
            (tmp_path / kind).mkdir(exist_ok=True)
            plane = np.full((SIDE_PX, SIDE_PX), 10 if base else 0, np.uint8)
            for class_id, x0, y0, x1, y1 in boxes:
                plane[y0:y1, x0:x1] = base + class_id
            cv2.imwrite(str(tmp_path / kind / f"{name}.png"), plane)
        file = {"file_name": f"image/{name}.png", "mask": f"mask/{name}.png"}
        images.append({"id": index, **file, "width": SIDE_PX, "height": SIDE_PX})
        annotations += [
            {"image_id": index, "category_id": c, "bbox": [x0, y0, x1 - x0, y1 - y0]} for c, x0, y0, x1, y1 in labelled
        ]
    categories = [{"id": class_id, "name": name} for class_id, name in names.items()]
    labels = {"categories": categories, "images": images, "annotations": annotations}
    (tmp_path / "annotations.json").write_text(json.dumps(labels))
    return tmp_path


def wish(bundle_folder, data, **changes):
    given = AccuracyWish(bundle_folder, data, ("scripted",), None, "classic-openvino", Path("gone"), 1)
    return replace(given, **changes)


def test_known_pictures_have_the_known_f_and_it_is_read_back(bundle_folder, data, tmp_path):
    report = bench_accuracy(wish(bundle_folder, data))
    (row,) = report.rows
    right, found, labelled = 2 + 4, 3 + 4, 3 + 4
    assert row["f_score"] == pytest.approx(2 * right / (found + labelled), abs=1e-4)
    assert (row["f_by_class"]["open"], row["f_by_class"]["short"]) == (1.0, 0.0)
    deliver(report, tmp_path / "accuracy.json", tmp_path / "accuracy.svg")
    assert read_accuracy(tmp_path / "accuracy.json") == {"ours, scripted": row["f_score"]}


def test_another_benchmarks_result_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(to_json(Clerk("limit").report({}, [{"name": "x"}])))
    with pytest.raises(ToolError, match="result of bench limit"):
        read_accuracy(tmp_path / "a.json")


def test_the_classic_needs_its_own_run_and_frames_it_can_take(bundle_folder, tmp_path):
    bundle = load_bundle(bundle_folder)
    other = build_network({"kind": "unet"}, 1, len(bundle.classes) + 1, "test")
    save_network(tmp_path / "network.npz", other, initial_weights(other, 1))
    with pytest.raises(ToolError, match=r"not a run of tools/benchmarks/classic.toml"):
        classic_task(bundle, tmp_path / "network.npz", 512)
    tile_px = 512
    task = classic_task(bundle, None, tile_px)
    assert task.mask_stride_px == 1
    assert common_size(task, {(tile_px, tile_px + 16)}) == (tile_px, tile_px + 16)
    for sizes in ({(tile_px + 8, tile_px)}, {(tile_px - 16, tile_px)}):
        with pytest.raises(ToolError, match="multiples of 16 px"):
            common_size(task, sizes)
    with pytest.raises(ToolError, match="2 sizes"):
        common_size(task, {(tile_px, tile_px), (640, 640)})
