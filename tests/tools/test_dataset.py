"""Data sets: what counts as a label, and everything that can be wrong with one, by name."""

import json

import cv2
import numpy as np
import pytest

from tools.dataset import check_every_class_occurs, check_pictures, load_dataset, same_classes
from tools.errors import DatasetError


def edit(folder, change):
    path = folder / "annotations.json"
    labels = json.loads(path.read_text())
    change(labels)
    path.write_text(json.dumps(labels))


def test_a_sound_data_set_passes(boards_folder):
    dataset = load_dataset(boards_folder)
    check_pictures(dataset, with_template=True)
    assert [picture.name for picture in dataset.pictures] == [f"board_{i:04d}" for i in range(4)]
    assert dataset.class_names == ("open", "short", "mousebite", "spur", "copper", "pin-hole")
    check_every_class_occurs([dataset.split(4)[0]])


def test_each_box_surrounds_its_class_in_the_mask(boards_folder):
    for picture in load_dataset(boards_folder).pictures:
        mask = picture.read_mask()
        assert picture.boxes
        for box in picture.boxes:
            x0, y0, x1, y1 = box.xyxy_px
            assert (mask[y0:y1, x0:x1] == box.class_id).any()


def test_split_keeps_every_picture_once(boards_folder):
    dataset = load_dataset(boards_folder)
    kept, held = dataset.split(3)
    assert [p.name for p in held.pictures] == ["board_0000", "board_0003"]
    assert sorted(kept.pictures + held.pictures, key=lambda p: p.name) == list(dataset.pictures)


def test_planes_are_the_picture_and_its_registered_template(scans_folder, tmp_path):
    picture = load_dataset(scans_folder).pictures[1]
    plain, both = picture.read_planes(False), picture.read_planes(True)
    assert (plain.shape, both.shape) == ((1, 160, 160), (2, 160, 160))
    assert np.array_equal(plain[0], both[0])
    healthy = picture.read_mask() == 0
    assert (both[0] == both[1])[healthy].mean() > 0.99
    assert (both[0] == both[1])[~healthy].mean() < 0.1


def one_picture(folder, annotations, categories=(("scratch", True), ("dirt", True)), **image):
    """A data set of one picture of 60 x 100 px without mask."""
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "a.png"), np.full((60, 100), 80, np.uint8))
    labels = {
        "images": [{"id": 7, "file_name": "a.png", "width": 100, "height": 60, **image}],
        "annotations": [{"image_id": 7, **annotation} for annotation in annotations],
        "categories": [{"id": i + 1, "name": name, "defect": defect} for i, (name, defect) in enumerate(categories)],
    }
    (folder / "annotations.json").write_text(json.dumps(labels))
    return folder


def test_boxes_alone_become_the_ellipses_inside_them(tmp_path):
    folder = one_picture(tmp_path / "boxes", [{"category_id": 2, "bbox": [20, 10, 40, 30]}])
    mask = load_dataset(folder).pictures[0].read_mask()
    assert set(np.unique(mask)) == {0, 2}
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 40, 20, 60)
    assert np.count_nonzero(mask) == pytest.approx(np.pi * 20 * 15, rel=0.1)


def test_polygons_are_filled(tmp_path):
    square, triangle = [10, 10, 30, 10, 30, 30, 10, 30], [50, 10, 90, 10, 50, 50]
    annotations = [
        {"category_id": 1, "bbox": [10, 10, 21, 21], "segmentation": [square]},
        {"category_id": 2, "bbox": [50, 10, 41, 41], "segmentation": [triangle]},
    ]
    picture = load_dataset(one_picture(tmp_path / "polygons", annotations)).pictures[0]
    mask = picture.read_mask()
    assert np.array_equal(mask[10:31, 10:31], np.full((21, 21), 1))
    assert np.count_nonzero(mask == 1) == 441
    assert np.count_nonzero(mask == 2) == pytest.approx(800, rel=0.1)
    assert (mask[11, 51], mask[48, 88]) == (2, 0)
    assert [box.class_id for box in picture.boxes] == [1, 2]


def test_lawful_categories_are_background(tmp_path):
    annotations = [{"category_id": 1, "bbox": [2, 2, 20, 20]}, {"category_id": 2, "bbox": [50, 10, 20, 20]}]
    folder = one_picture(tmp_path / "lawful", annotations, (("busbar", False), ("crack", True)), mask="mask.png")
    raw = np.zeros((60, 100), np.uint8)
    raw[5:20, 5:20], raw[10:30, 50:70] = 1, 2
    cv2.imwrite(str(folder / "mask.png"), raw)
    dataset = load_dataset(folder)
    check_pictures(dataset)
    assert dataset.class_names == ("crack",)
    assert np.array_equal(dataset.pictures[0].read_mask(), (raw == 2).astype(np.uint8))
    assert [(box.class_id, box.xyxy_px) for box in dataset.pictures[0].boxes] == [(1, (50, 10, 70, 30))]
    edit(folder, lambda labels: labels["images"][0].pop("mask"))
    drawn = load_dataset(folder).pictures[0].read_mask()
    assert not drawn[:, :40].any()
    assert (drawn[10:30, 50:70] == 1).any()


def test_category_ids_may_have_gaps(tmp_path):
    folder = one_picture(tmp_path / "gaps", [{"category_id": 9, "bbox": [5, 5, 10, 10]}])
    edit(folder, lambda labels: labels["categories"][1].update(id=9))
    dataset = load_dataset(folder)
    assert (dataset.class_names, dataset.pictures[0].boxes[0].class_id) == (("scratch", "dirt"), 2)
    assert set(np.unique(dataset.pictures[0].read_mask())) == {0, 2}


def test_no_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere: no annotations\.json .*give a data set's folder"):
        load_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: labels["images"].clear() or labels["annotations"].clear(), "lists no pictures"),
        (lambda labels: labels["images"][0].pop("width"), "width"),
        (lambda labels: labels.pop("categories"), "categories"),
        (lambda labels: labels["categories"][0].update(id=300), r"must be given once and lie in 1\.\.254"),
        (lambda labels: labels["categories"][0].update(id=2), r"must be given once and lie in 1\.\.254"),
        (lambda labels: [entry.update(defect=False) for entry in labels["categories"]], "none is a defect"),
        (lambda labels: labels["annotations"][0].pop("bbox"), "bbox"),
        (lambda labels: labels["annotations"][0].update(bbox=[1, 2, 3]), "not enough values"),
        (lambda labels: labels["annotations"][0].update(image_id=99), "image_id 99 .no picture has it"),
        (
            lambda labels: labels["annotations"][0].update(segmentation={"counts": "0a"}),
            "only polygons",
        ),
        (lambda labels: labels["annotations"][0].update(segmentation=[[1, 2, 3, 4]]), "three corners or more"),
    ],
)
def test_labels_that_lack_something_are_refused(data_copy, change, message):
    edit(data_copy, change)
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(data_copy)
    assert "annotations.json" in str(caught.value)


def test_labels_that_are_not_json_are_refused(data_copy):
    for text, message in (("{", "not JSON"), ("[]", "expected COCO style labels")):
        (data_copy / "annotations.json").write_text(text)
        with pytest.raises(DatasetError, match=message):
            load_dataset(data_copy)


def write_mask(folder, mask):
    cv2.imwrite(str(folder / "mask" / "board_0001.png"), mask)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "mask" / "board_0001.png").unlink(), r"mask/board_0001\.png: missing"),
        (lambda folder: (folder / "image" / "board_0002.png").write_bytes(b"x"), "not a readable picture"),
        (lambda folder: (folder / "template" / "board_0002.png").unlink(), r"template/board_0002\.png: missing"),
        (lambda folder: write_mask(folder, np.zeros((80, 160), np.uint8)), "160x80 px, the labels say 160x160"),
        (
            lambda folder: write_mask(folder, np.full((160, 160), 7, np.uint8)),
            "value 7 in the mask is no category",
        ),
        (lambda folder: write_mask(folder, np.full((160, 160), 300, np.uint16)), "uint16 values; masks are 8-bit grey"),
    ],
)
def test_spoilt_pictures_are_named(data_copy, spoil, message):
    spoil(data_copy)
    with pytest.raises(DatasetError, match=message):
        check_pictures(load_dataset(data_copy), with_template=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 8}, "an annotation names no listed category"),
        ({"bbox": [5, 5, 0, 10]}, "is empty or outside the picture"),
        ({"bbox": [500, 5, 10, 10]}, "is empty or outside the picture"),
    ],
)
def test_wrong_boxes_are_named_with_their_picture(data_copy, change, message):
    edit(data_copy, lambda labels: labels["annotations"][0].update(change))
    with pytest.raises(DatasetError, match=rf"board_0000\.png: .*{message}"):
        check_pictures(load_dataset(data_copy))


def test_many_problems_are_counted(data_copy):
    for path in (data_copy / "image").iterdir():
        path.unlink()
    (data_copy / "mask" / "board_0001.png").unlink()
    (data_copy / "mask" / "board_0002.png").unlink()
    with pytest.raises(DatasetError, match="and 1 more"):
        check_pictures(load_dataset(data_copy))


def test_a_class_without_an_example_is_named(data_copy):
    edit(data_copy, lambda labels: labels["categories"].append({"id": 7, "name": "hair"}))
    with pytest.raises(DatasetError, match="no example of hair to train on"):
        check_every_class_occurs([load_dataset(data_copy)])


def test_a_template_is_only_needed_where_it_is_used(data_copy):
    edit(data_copy, lambda labels: labels["images"][0].pop("template"))
    check_pictures(load_dataset(data_copy))
    with pytest.raises(DatasetError, match="the labels name no template for it"):
        check_pictures(load_dataset(data_copy), with_template=True)


def test_data_sets_must_name_the_same_classes(data_copy, boards_folder):
    edit(data_copy, lambda labels: labels["categories"][0].update(name="scratch"))
    with pytest.raises(DatasetError, match="different classes"):
        same_classes([load_dataset(data_copy), load_dataset(boards_folder)])
