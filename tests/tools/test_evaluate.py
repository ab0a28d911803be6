from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge_runtime.values import DefectClass, InputContract, Mask
from tools.dataset import load_dataset
from tools.errors import DatasetError
from tools.evaluate import (
    Segmented,
    choose_thresholds,
    score_candidates,
    score_masks,
    scores_by_class,
    segment_all,
    segment_labelled,
    segment_picture,
)
from tools.evaluation.kept_masks import KeptMasks, pack_mask
from tools.scoring import score_pictures


class BrightCells:
    """A segmenter without memory of its neighbourhood: class and score are those of a cell's first pixel."""

    input_contract = InputContract("GRAY", (0.0,), (1.0,), tile_px=64, stride_px=8, margin_px=8)
    mask_stride_px = 2

    def predict(self, picture, template=None):
        cells = picture[::2, ::2, 0].copy()
        return np.full_like(cells, 1), cells

    def close(self):
        pass


@pytest.fixture
def dataset(boards_folder):
    return load_dataset(boards_folder)


def classes(threshold=128):
    names = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
    return [DefectClass(i + 1, name, (0, 0, 255), threshold) for i, name in enumerate(names)]


def perfect(dataset, score=200):
    """What a faultless model would give, at full resolution."""
    for picture in dataset.pictures:
        mask = picture.read_mask()
        yield Segmented(picture, 0, Mask(np.maximum(mask, 1), np.where(mask > 0, score, 3).astype(np.uint8), 1))


@pytest.mark.parametrize("image_hw", [(64, 64), (61, 200), (150, 97)])
def test_tiles_join_to_the_picture(image_hw):
    image = np.random.default_rng(4).integers(0, 256, (*image_hw, 3), np.uint8)
    image[:] = image[..., :1]
    assert (segment_picture(BrightCells(), image).scores == image[::2, ::2, 0]).all()


def test_every_picture_is_segmented_once(dataset):
    names = [one.picture.name for one in segment_all(BrightCells(), dataset)]
    assert names == [picture.name for picture in dataset.pictures]


class Differences(BrightCells):
    """Score: how far a cell's first pixel lies above the template's."""

    input_contract = replace(BrightCells.input_contract, template=True)

    def predict(self, picture, template=None):
        return super().predict(cv2.subtract(picture, cv2.merge([template] * 3)))


def test_a_template_is_laid_onto_the_picture_once_and_cut_like_it(tmp_path, dataset):
    rng = np.random.default_rng(8)
    template = np.kron(rng.integers(0, 2, (20, 25), np.uint8) * 150, np.ones((8, 8), np.uint8))
    image = np.roll(template, (3, -2), (0, 1))
    image[60:80, 90:110] = 255
    paths = tmp_path / "image.png", tmp_path / "template.png"
    for path, plane in zip(paths, (image, template), strict=True):
        cv2.imwrite(str(path), plane)
    picture = replace(dataset.pictures[0], image_path=paths[0], template_path=paths[1], size_hw=image.shape)
    inner = segment_labelled(Differences(), picture).scores[4:-4, 4:-4]
    assert {int(score) for score in np.unique(inner)} <= {0, 105, 255}
    assert np.count_nonzero(inner) == 100
    with pytest.raises(DatasetError, match="the labels name none"):
        segment_labelled(Differences(), replace(picture, template_path=None))


def test_a_picture_of_another_size_than_its_labels_is_refused(dataset):
    with pytest.raises(DatasetError, match="the device reads 160x160 px, the labels say 80x160"):
        segment_labelled(BrightCells(), replace(dataset.pictures[0], size_hw=(160, 80)))


def test_kept_masks_come_back_as_they_were(dataset):
    kept, masks = KeptMasks(), [one.mask for one in segment_all(BrightCells(), dataset)]
    for mask in masks:
        kept.add(pack_mask(mask))
    for _ in range(2):
        again = list(kept)
        assert len(again) == len(kept) == len(masks)
        assert all((a.scores == b.scores).all() and a.stride_px == 2 for a, b in zip(again, masks, strict=True))
    kept.close()


def test_average_precision_sees_what_thresholds_hide(dataset):
    masks = list(perfect(dataset, score=150))
    strict = classes(threshold=200)
    hidden = scores_by_class(score_masks(masks, strict), strict)["all"]
    assert (hidden.found, hidden.average_precision) == (0, 0.0)
    ranked = scores_by_class(score_masks(masks, strict), strict, score_candidates(masks, strict))["all"]
    assert (ranked.found, ranked.average_precision) == (0, 1.0)


def test_true_masks_score_one(dataset):
    scores = scores_by_class(score_masks(list(perfect(dataset)), classes()), classes())
    assert scores["all"].labelled == sum(len(picture.boxes) for picture in dataset.pictures)
    assert scores["all"].f_score == 1.0
    assert all(one.f_score == 1.0 for one in scores.values() if one.labelled)


def test_thresholds_are_chosen_where_the_f_score_is_best(dataset):
    masks = list(perfect(dataset, score=150))
    noisy = [replace(one, mask=with_speck(one.mask, score=120)) for one in masks]
    chosen = choose_thresholds(lambda tried: score_masks(noisy, tried), classes())
    assert {entry.threshold for entry in chosen if entry.class_id == 1} == {144}
    assert score_pictures(score_masks(noisy, chosen)).f_score == 1.0


def with_speck(mask, score):
    """The mask with one false open of that score in its emptiest corner."""
    scores, size = mask.scores.copy(), 24
    corners = [(y, x) for y in (0, mask.scores.shape[0] - size) for x in (0, mask.scores.shape[1] - size)]
    y, x = min(corners, key=lambda corner: int((mask.scores[corner[0] :, corner[1] :][:size, :size] > 3).sum()))
    scores[y + 8 : y + 14, x + 8 : x + 14] = score
    return Mask(mask.class_ids, scores, mask.stride_px)
