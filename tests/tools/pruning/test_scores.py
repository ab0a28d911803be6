import numpy as np
import pytest

from tools.architectures.layers import GraphBuilder
from tools.errors import ToolError
from tools.graph import INPUT, initial_weights
from tools.pruning.groups import find_dependencies
from tools.pruning.scores import METHODS, score_units


@pytest.fixture
def chain():
    """Two layers of 8 channels, a deconvolution of 8, a head; weights all 1."""
    builder = GraphBuilder(1)
    second = builder.conv_bn("b", builder.conv_bn("a", INPUT, 8), 8)
    dependencies = find_dependencies(builder.graph(builder.head(builder.upsample("up", second, 8, "deconv"), 2)))
    weights = initial_weights(dependencies.graph, 1)
    return dependencies, {name: np.ones_like(values) for name, values in weights.items()}


def class_scores(dependencies, scores, name):
    return scores[list(next(c.units for c in dependencies.classes if c.name == name))]


@pytest.mark.parametrize("layer", ["a.conv", "b.conv", "up.deconv"])
def test_l1_is_the_filters_sum_over_the_layers_mean(chain, layer):
    dependencies, weights = chain
    axis = 1 if layer == "up.deconv" else 0
    np.moveaxis(weights[f"{layer}.weight"], axis, 0)[:] *= np.arange(8, dtype=np.float32)[:, None, None, None]
    scores = class_scores(dependencies, score_units(dependencies, weights, "l1"), layer)
    assert scores == pytest.approx(np.arange(8) / 3.5)


def test_l1_compares_layers_whatever_their_scale(chain):
    dependencies, weights = chain
    before = score_units(dependencies, weights, "l1")
    weights["a.conv.weight"] *= 100
    assert score_units(dependencies, weights, "l1") == pytest.approx(before)


def test_fpgm_ranks_the_filter_nearest_to_all_others_lowest(chain):
    dependencies, weights = chain
    rng = np.random.default_rng(1)
    values = rng.standard_normal(weights["b.conv.weight"].shape).astype(np.float32)
    values[3] = values.mean(axis=0) + 10
    values += 10
    values[3] = values[[0, 1, 2, 4, 5, 6, 7]].mean(axis=0)
    weights["b.conv.weight"] = values
    flat = values.reshape(8, -1).astype(np.float64)
    summed = np.array([np.linalg.norm(flat - one, axis=1).sum() for one in flat])
    scores = class_scores(dependencies, score_units(dependencies, weights, "fpgm"), "b.conv")
    assert scores == pytest.approx(summed / summed.mean())
    assert scores.argmin() == 3


def test_bn_is_the_absolute_scale_and_what_has_none_is_never_taken(chain, networks, lively_weights):
    dependencies, weights = chain
    weights["a.bn.scale"] = np.linspace(-2, 2, 8, dtype=np.float32)
    scores = score_units(dependencies, weights, "bn")
    assert class_scores(dependencies, scores, "a.conv") == pytest.approx(np.abs(weights["a.bn.scale"]))
    gated = find_dependencies(networks["regnety-unet"])
    scores = score_units(gated, lively_weights(gated.graph, 1), "bn")
    assert np.isinf(class_scores(gated, scores, "stage1.0.se.squeeze")).all()
    assert np.isfinite(class_scores(gated, scores, "stage1.0.a.conv")).all()


def test_a_unit_of_several_layers_has_their_mean(networks):
    dependencies = find_dependencies(networks["unet-residual-deconv-add"])
    weights = {name: np.ones_like(v) for name, v in initial_weights(dependencies.graph, 1).items()}
    weights["stem.conv.weight"][0] *= 3
    scores = class_scores(dependencies, score_units(dependencies, weights, "l1"), "stem.conv")
    mean = (2 * 15 + 3 * 2) / 18
    assert scores[0] > 1
    assert scores[1:] == pytest.approx(scores[1])
    makers = len(next(c for c in dependencies.classes if c.name == "stem.conv").layers)
    stem = np.array([3.0, 1.0]) * 16 / (15 + 3)
    assert scores[:2] == pytest.approx((stem + (makers - 1)) / makers)
    assert mean


@pytest.mark.parametrize("method", METHODS)
def test_a_layer_of_zeros_is_scored_zero(chain, method):
    dependencies, weights = chain
    scores = score_units(dependencies, {name: np.zeros_like(v) for name, v in weights.items()}, method)
    assert (class_scores(dependencies, scores, "b.conv") == 0).all()


def test_an_unknown_method_names_those_there_are(chain):
    with pytest.raises(ToolError, match="'l2'; allowed: l1, fpgm, bn"):
        score_units(*chain, "l2")
