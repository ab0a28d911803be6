"""The data packs beside the repository, where they are present."""

from pathlib import Path

import numpy as np
import pytest

from edge_runtime.vision.registration import register_template
from tools.dataset import check_every_class_occurs, check_pictures, load_dataset

DATA = Path(__file__).parents[3] / "shared" / "data"
BOARDS = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
CELLS = ("dark", "cross", "crack")
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data packs in {DATA}")


@pytest.mark.parametrize(
    ("name", "pictures", "boxes", "classes", "margin_px"),
    [
        ("deeppcb/train", 1000, 6873, BOARDS, 10),
        ("deeppcb/val", 249, 1551, BOARDS, 10),
        ("lines", 12, 684, BOARDS, 10),
        ("pv_el/train", 604, 3635, CELLS, 0),
        ("pv_el/val", 172, 704, CELLS, 0),
    ],
)
def test_a_pack_is_read_whole(name, pictures, boxes, classes, margin_px):
    dataset = load_dataset(DATA / name)
    assert len(dataset.pictures) == pictures
    assert sum(len(picture.boxes) for picture in dataset.pictures) == boxes
    assert (dataset.class_names, dataset.label_margin_px) == (classes, margin_px)
    check_every_class_occurs([dataset.split(16)[0]])


@pytest.mark.parametrize(("name", "with_template"), [("deeppcb/val", True), ("lines", True), ("pv_el/val", False)])
def test_its_pictures_masks_and_templates_are_sound(name, with_template):
    check_pictures(load_dataset(DATA / name), with_template)


def test_busbars_of_solar_cells_are_lawful():
    dataset = load_dataset(DATA / "pv_el" / "val")
    seen = np.zeros(256, bool)
    for picture in dataset.pictures[::10]:
        seen[np.unique(picture.read_mask())] = True
    assert np.flatnonzero(seen).max() <= len(CELLS)


def healthy_difference(picture, image, template):
    """Share of pixels outside all labelled boxes where picture and template disagree."""
    healthy = np.ones(image.shape, bool)
    for box in picture.boxes:
        x0, y0, x1, y1 = box.xyxy_px
        healthy[max(0, y0) : y1, max(0, x0) : x1] = False
    return float((np.abs(image.astype(int) - template) > 100)[healthy].mean())


def test_registration_leaves_less_outside_the_defects():
    raw, registered, moved = [], [], []
    for picture in load_dataset(DATA / "deeppcb" / "val").pictures[::12]:
        image, template = picture.read_image(), picture.read_template()
        raw.append(healthy_difference(picture, image, template))
        registered.append(healthy_difference(picture, image, register_template(image, template)))
        elsewhere = np.roll(template, (5, -7), axis=(0, 1))
        moved.append(healthy_difference(picture, image, register_template(image, elsewhere)))
    assert len(raw) > 15
    assert np.mean(registered) < 0.95 * np.mean(raw)
    assert np.mean(moved) < 1.25 * np.mean(registered)
    assert all(after <= before + 1e-3 for before, after in zip(raw, registered, strict=True))


def test_labelled_masks_score_as_the_pack_says():
    from edge_runtime.values import DefectClass, Mask
    from tools.evaluate import Segmented, score_masks
    from tools.scoring import score_pictures

    dataset = load_dataset(DATA / "deeppcb" / "val")
    classes = [DefectClass(i + 1, name, (0, 0, 0), 1) for i, name in enumerate(dataset.class_names)]
    masks = ((picture, picture.read_mask()) for picture in dataset.pictures[::5])
    segmented = [Segmented(picture, 10, Mask(mask, mask, 1)) for picture, mask in masks]
    assert score_pictures(score_masks(segmented, classes)).f_score > 0.98
