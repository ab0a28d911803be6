"""What leaves the tools computes what the network does, in every form."""

import numpy as np
import pytest

from tools.crops import MEAN, STD, to_input
from tools.errors import ToolError
from tools.graph import Graph, Node, initial_weights

TILE_PX = 64


@pytest.fixture(scope="module")
def tiles():
    """Four tiles uint8 (N, H, W, 1)."""
    return np.random.default_rng(2).integers(0, 256, (4, TILE_PX, TILE_PX, 1), np.uint8)


def run(program, images):
    """The outputs of an exported program for each image, by Paddle's own predictor in this process."""
    from tools.paddle_first import paddle

    layer = paddle.jit.load(str(program.with_suffix("")))
    layer.eval()
    with paddle.no_grad():
        answers = [layer(paddle.to_tensor(image[None])) for image in images]
    planes = [answer if isinstance(answer, list | tuple) else [answer] for answer in answers]
    return [np.concatenate([p.numpy() for p in plane]) for plane in zip(*planes, strict=True)]


def exported(tiny, folder, tile_px=TILE_PX, **form):
    from tools.export import export_network

    return export_network(*tiny, folder / "model", tile_px, **form)


def as_input(tiles):
    return np.stack([to_input(np.moveaxis(tile, -1, 0)) for tile in tiles])


def softmax(logits):
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def logits(tiny, tiles):
    from tools.paddle_network import evaluating, predict_logits

    return predict_logits(evaluating(*tiny), as_input(tiles))


def test_bytes_are_the_likeliest_defect_and_one_minus_background(tiny, tiles, logits, tmp_path):
    ids, scores = run(exported(tiny, tmp_path), as_input(tiles))
    assert ids.dtype == scores.dtype == np.uint8
    assert ids.shape == scores.shape == (4, TILE_PX // 2, TILE_PX // 2)
    assert (ids != logits[:, 1:].argmax(axis=1) + 1).mean() < 1e-3
    assert np.abs(scores - (1 - softmax(logits)[:, 0]) * 255).max() <= 0.51
    assert np.ptp(scores) > 20


def test_probabilities_are_the_softmax(tiny, tiles, logits, tmp_path):
    (found,) = run(exported(tiny, tmp_path, output_form="probabilities"), as_input(tiles))
    assert np.abs(found - softmax(logits)).max() < 1e-5


def test_pixels_in_give_the_same_as_prepared_values(tiny, tiles, tmp_path):
    floats = run(exported(tiny, tmp_path / "float"), as_input(tiles))
    pixels = run(exported(tiny, tmp_path / "bytes", input_form="uint8"), tiles)
    assert np.abs(pixels[1].astype(int) - floats[1]).max() <= 1
    sure = floats[1] > 128
    assert sure.any()
    assert np.array_equal(pixels[0][sure], floats[0][sure])
    (shares,) = run(exported(tiny, tmp_path / "a", output_form="probabilities"), as_input(tiles))
    (same,) = run(exported(tiny, tmp_path / "b", input_form="uint8", output_form="probabilities"), tiles)
    assert np.abs(shares - same).max() < 1e-4


def test_two_planes_go_in_by_pixels_too(make_unet, tmp_path):
    graph = make_unet(2)
    network = graph, initial_weights(graph, 3)
    both = np.random.default_rng(1).integers(0, 256, (1, TILE_PX, TILE_PX, 2), np.uint8)
    (pixels,) = run(exported(network, tmp_path / "b", input_form="uint8", output_form="probabilities"), both)
    (floats,) = run(exported(network, tmp_path / "a", output_form="probabilities"), as_input(both))
    assert np.abs(pixels - floats).max() < 1e-4


def test_one_class_may_answer_with_its_scores_alone(make_unet, tiny, tiles, tmp_path):
    graph = make_unet(class_count=2)
    network = graph, initial_weights(graph, 3)
    (alone,) = run(exported(network, tmp_path / "score", output_form="score"), as_input(tiles))
    _, scores = run(exported(network, tmp_path / "both"), as_input(tiles))
    assert np.array_equal(alone, scores)
    with pytest.raises(ToolError, match="output 'score' is for one defect class, the network has 6"):
        exported(tiny, tmp_path, output_form="score")


def test_the_prior_moves_the_background_and_nothing_else(tiny, tiles):
    from tools.paddle_network import evaluating, predict_logits
    from tools.tile_form import with_prior

    graph, weights = tiny
    shifted = with_prior(graph, weights, 2.5)
    before, after = (predict_logits(evaluating(graph, w), as_input(tiles)) for w in (weights, shifted))
    assert np.allclose(after[:, 0] - before[:, 0], 2.5, atol=1e-5)
    assert np.array_equal(after[:, 1:], before[:, 1:])
    assert weights["head.bias"][0] != shifted["head.bias"][0]
    assert np.array_equal(with_prior(graph, weights, 0.0)["head.bias"], weights["head.bias"])
    bare = Graph(1, (Node("end", "conv", ("input",), 2),), "end")
    with pytest.raises(ToolError, match="last node end has no bias"):
        with_prior(bare, initial_weights(bare, 0))


@pytest.mark.parametrize("tile_px", [0, 4, 63, 100])
def test_tiles_the_network_cannot_take_are_refused(tiny, tmp_path, tile_px):
    with pytest.raises(ToolError, match="must be a multiple of the network's total stride 8 px"):
        exported(tiny, tmp_path, tile_px)
    assert list(tmp_path.iterdir()) == []


def test_the_input_contract_is_one():
    assert (MEAN, STD) == (0.5, 0.25)
