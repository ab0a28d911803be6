"""A tile is clean exactly if nothing in or near its core strays from the template, whoever asks, however often."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.vision.gate import TemplateGate, grown, is_audited
from edge_runtime.vision.tiling import core_box, plan_grid

SIDES = st.integers(5, 90)


@st.composite
def gates(draw: st.DrawFn, threshold: float = 1.0) -> TemplateGate:
    return TemplateGate(draw(st.integers(0, 3)), draw(st.integers(1, 8)), draw(st.integers(0, 20)), threshold)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A picture, BGR, and a template: coarse noise, so that blocks differ."""
    height, width = draw(SIDES), draw(SIDES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    small = rng.integers(0, 256, (2, -(-height // 3), -(-width // 3))).astype(np.uint8)
    picture, template = small.repeat(3, 1).repeat(3, 2)[:, :height, :width]
    return np.ascontiguousarray(np.dstack([picture] * 3)), np.ascontiguousarray(template)


def boxes_of(image: np.ndarray) -> list[tuple[int, int, int, int]]:
    grid = plan_grid((image.shape[0], image.shape[1]), 32, 4, 4)
    return [core_box(grid, index) for index in range(len(grid))]


@given(pairs(), gates())
def test_a_tile_scores_what_the_whole_picture_holds_in_and_near_its_core(pair, gate):
    image, template = pair
    whole = gate.block_sums(np.ascontiguousarray(image[..., 0]), template)
    for core in boxes_of(image):
        x0, y0, x1, y1 = grown(core, gate.reach_px, whole.shape)
        assert gate.score(image, template, core) == whole[y0:y1, x0:x1].max() / gate.block_px**2


@given(pairs(), gates(), st.floats(0.0, 255.0))
def test_a_tile_is_clean_exactly_if_it_scores_below_the_threshold(pair, gate, threshold):
    image, template = pair
    gate = replace(gate, threshold=threshold)
    for core in boxes_of(image):
        assert gate.is_clean(image, template, core) == (gate.score(image, template, core) < threshold)


@given(pairs(), gates(0.0))
def test_a_threshold_of_0_calls_nothing_clean(pair, gate):
    image, template = pair
    assert not any(gate.is_clean(image, template, core) for core in boxes_of(image))
    same = np.dstack([template] * 3)
    assert not any(gate.is_clean(same, template, core) for core in boxes_of(image))


@given(pairs(), gates(), st.integers(-3, 3), st.integers(-3, 3))
def test_edges_a_little_aside_are_clean(pair, gate, dy, dx):
    """The picture is its template moved by no more than the tolerance."""
    _, template = pair
    padded = np.pad(template, 3, mode="edge")
    moved = padded[3 - dy :, 3 - dx :][: template.shape[0], : template.shape[1]]
    wide = replace(gate, tolerance_px=max(abs(dy), abs(dx)))
    image = np.ascontiguousarray(np.dstack([moved] * 3))
    assert [wide.score(image, template, core) for core in boxes_of(image)] == [0.0] * len(boxes_of(image))


@given(gates(), st.integers(0, 255), st.integers(0, 255), st.data())
def test_a_spot_of_a_block_scores_its_contrast_in_the_tile_that_holds_it(gate, ground, spot, data):
    image = np.full((70, 90, 3), ground, np.uint8)
    block = gate.block_px
    y, x = data.draw(st.integers(0, 70 - block)), data.draw(st.integers(0, 90 - block))
    image[y : y + block, x : x + block] = spot
    template = np.full((70, 90), ground, np.uint8)
    middle_y, middle_x = y + block // 2, x + block // 2
    for x0, y0, x1, y1 in boxes_of(image):
        if x0 <= middle_x < x1 and y0 <= middle_y < y1:
            assert gate.score(image, template, (x0, y0, x1, y1)) >= abs(spot - ground)


@given(pairs(), gates())
def test_what_lies_outside_a_tiles_surroundings_never_matters(pair, gate):
    image, template = pair
    for core in boxes_of(image):
        reach = gate.reach_px + gate.tolerance_px + gate.block_px
        x0, y0, x1, y1 = grown(core, reach, template.shape)
        other, other_template = 255 - image, 255 - template
        other[y0:y1, x0:x1], other_template[y0:y1, x0:x1] = image[y0:y1, x0:x1], template[y0:y1, x0:x1]
        assert gate.score(other, other_template, core) == gate.score(image, template, core)


@pytest.mark.parametrize(
    "changes", [{"tolerance_px": 9}, {"block_px": 0}, {"block_px": 17}, {"reach_px": 257}, {"threshold": 255.5}]
)
def test_a_gate_out_of_range_is_refused(changes):
    with pytest.raises(ValueError, match="gate"):
        replace(TemplateGate(1, 4, 8, 48.0), **changes)


@pytest.mark.parametrize("audit_every", [1, 2, 7, 50, 1000])
def test_one_in_so_many_tiles_is_audited_wherever_it_lies(audit_every):
    parts, tiles = 4000, 25
    sampled = np.array([[is_audited(part, tile, audit_every) for tile in range(tiles)] for part in range(1, parts + 1)])
    expected = parts * tiles / audit_every
    assert abs(sampled.sum() - expected) <= 5 * expected**0.5 * (audit_every > 1)
    assert sampled.any(axis=0).all() or audit_every > 100, "no tile is never audited"
