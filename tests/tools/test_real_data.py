"""The data packs beside the repository, where they are present."""

from pathlib import Path

import pytest

from tools.dataset import load_dataset

DATA = Path(__file__).parents[3] / "shared" / "data"
BUNDLE = Path(__file__).parents[2] / "opt_models" / "pcb-unet" / "1"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data packs in {DATA}")


@needs_data
@pytest.mark.parametrize(("name", "pictures", "boxes"), [("deeppcb/val", 249, 1551), ("lines", 12, 684)])
def test_a_pack_is_read_whole(name, pictures, boxes):
    dataset = load_dataset(DATA / name)
    assert len(dataset.pictures) == pictures
    assert sum(len(picture.boxes) for picture in dataset.pictures) == boxes
    assert dataset.label_margin_px == 10


@needs_data
def test_labelled_masks_score_as_the_pack_says():
    from edge_runtime.values import DefectClass, Mask
    from tools.evaluate import Segmented, score_masks
    from tools.scoring import score_pictures

    dataset = load_dataset(DATA / "deeppcb" / "val")
    classes = [DefectClass(i + 1, name, (0, 0, 0), 1) for i, name in enumerate(dataset.class_names)]
    masks = ((picture, picture.read_mask()) for picture in dataset.pictures[::5])
    segmented = [Segmented(picture, 10, Mask(mask, mask, 1)) for picture, mask in masks]
    assert score_pictures(score_masks(segmented, classes)).f_score > 0.98
