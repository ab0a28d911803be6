import json
import shutil

import cv2
import numpy as np
import pytest

from tools.dataset import check_pictures, load_dataset, same_classes
from tools.errors import DatasetError


@pytest.fixture
def folder(boards_folder, tmp_path):
    """A data set that a test may spoil."""
    return shutil.copytree(boards_folder, tmp_path / "data")


def edit(folder, change):
    path = folder / "annotations.json"
    labels = json.loads(path.read_text())
    change(labels)
    path.write_text(json.dumps(labels))


def test_a_sound_data_set_passes(folder):
    dataset = load_dataset(folder)
    check_pictures(dataset)
    assert [picture.name for picture in dataset.pictures] == [f"board_{i:04d}" for i in range(4)]
    assert dataset.class_names == ("open", "short", "mousebite", "spur", "copper", "pin-hole")


def test_each_box_surrounds_its_class_in_the_mask(folder):
    for picture in load_dataset(folder).pictures:
        mask = picture.read_mask()
        for box in picture.boxes:
            x0, y0, x1, y1 = box.xyxy_px
            assert (mask[y0:y1, x0:x1] == box.class_id).any()


def test_split_keeps_every_picture_once(folder):
    dataset = load_dataset(folder)
    kept, held = dataset.split(3)
    assert [p.name for p in held.pictures] == ["board_0000", "board_0003"]
    assert sorted(kept.pictures + held.pictures, key=lambda p: p.name) == list(dataset.pictures)


def test_no_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere: no annotations\.json"):
        load_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: labels["images"].clear(), "lists no pictures"),
        (lambda labels: labels["images"][0].pop("mask"), "mask"),
        (lambda labels: labels.pop("categories"), "categories"),
        (lambda labels: labels["categories"][0].update(id=9), "count from 1"),
    ],
)
def test_labels_that_lack_something_are_refused(folder, change, message):
    edit(folder, change)
    with pytest.raises(DatasetError, match=message):
        load_dataset(folder)


def test_labels_that_are_not_json_are_refused(folder):
    (folder / "annotations.json").write_text("{")
    with pytest.raises(DatasetError, match="not JSON"):
        load_dataset(folder)


def write_mask(folder, mask):
    cv2.imwrite(str(folder / "mask" / "board_0001.png"), mask)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "mask" / "board_0001.png").unlink(), r"mask/board_0001\.png: missing"),
        (lambda folder: (folder / "image" / "board_0002.png").write_bytes(b"x"), "not a readable picture"),
        (lambda folder: write_mask(folder, np.zeros((80, 160), np.uint8)), "160x80 px, the labels say 160x160"),
        (lambda folder: write_mask(folder, np.full((160, 160), 7, np.uint8)), "class 7 in the mask, the labels name 6"),
    ],
)
def test_spoilt_pictures_are_named(folder, spoil, message):
    spoil(folder)
    with pytest.raises(DatasetError, match=message):
        check_pictures(load_dataset(folder))


def test_a_box_of_an_unknown_class_is_named(folder):
    edit(folder, lambda labels: labels["annotations"][0].update(category_id=8))
    with pytest.raises(DatasetError, match="unknown class 8"):
        check_pictures(load_dataset(folder))


def test_data_sets_must_name_the_same_classes(folder, boards_folder):
    edit(folder, lambda labels: labels["categories"][0].update(name="scratch"))
    with pytest.raises(DatasetError, match="different classes"):
        same_classes([load_dataset(folder), load_dataset(boards_folder)])
