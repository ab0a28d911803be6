"""Margins, radii and made-up pictures."""

import numpy as np
import pytest

from edge_runtime.values import InputContract
from tools.architectures.regnet import RegnetSettings, build_regnet
from tools.crops import MEAN, STD
from tools.errors import ToolError
from tools.golden_pictures import made_pictures
from tools.graph import receptive_radius_px
from tools.machine import cpu_name


def test_the_measured_radius_stays_within_the_theoretical_one(tiny):
    from tools.verify import effective_radius_px, prepared_tiles

    contract = InputContract("GRAY", (MEAN,), (STD,), tile_px=192, stride_px=8, margin_px=0)
    measured_px = effective_radius_px(*tiny, prepared_tiles(contract, made_pictures("boards", 192, False)))
    assert 8 <= measured_px <= receptive_radius_px(tiny[0])


def test_a_network_whose_logits_paddle_lite_cannot_bear_is_refused(tiny, tmp_path):
    from tools.verify import float_difference, prepared_tiles

    graph, weights = tiny
    contract = InputContract("GRAY", (MEAN,), (STD,), tile_px=128, stride_px=8, margin_px=0)
    tiles = prepared_tiles(contract, made_pictures("boards", 128, False)[:1])
    wild = {**weights, "head.weight": weights["head.weight"] * np.float32(1000)}
    with pytest.raises(ToolError, match="no numbers in Paddle Lite"):
        float_difference(graph, wild, tiles, tmp_path)


def test_a_small_radius_makes_the_margin_exact_and_a_large_one_is_measured(make_unet):
    from tools.verify import LARGEST_EXACT_MARGIN_PX, choose_margin_px

    small = make_unet()
    exact_px = receptive_radius_px(small)
    assert exact_px <= LARGEST_EXACT_MARGIN_PX
    margin_px = choose_margin_px(small, lambda: pytest.fail("measured"))
    assert exact_px <= margin_px < exact_px + 8
    assert margin_px % small.total_stride_px == 0
    large = build_regnet(RegnetSettings(24, 36.44, 2.49, 13, 8), 1, 3)
    assert receptive_radius_px(large) > LARGEST_EXACT_MARGIN_PX
    assert [choose_margin_px(large, lambda px=px: px) for px in (1, 32, 33, 70)] == [32, 32, 64, 96]


@pytest.mark.parametrize("motif", ["boards", "scans", "cells"])
def test_made_up_pictures_are_the_same_each_time(motif):
    first, second = (made_pictures(motif, 128, motif == "scans") for _ in range(2))
    assert len(first) == 4
    for one, other in zip(first, second, strict=True):
        assert (one.image.shape, one.image.dtype) == ((128, 128, 3), np.uint8)
        assert np.array_equal(one.image, other.image)
        assert (one.template is None) == (motif != "scans")
        assert one.template is None or np.array_equal(one.template, other.template)


def test_a_picture_with_template_differs_from_it_in_its_defects_only():
    for made in made_pictures("boards", 256, True):
        share = np.mean(made.image[..., 0] != made.template)
        assert 0.0005 < share < 0.1


def test_the_processor_has_a_name():
    assert cpu_name().strip()
