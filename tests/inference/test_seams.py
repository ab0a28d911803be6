"""Stitching has no seams, asked of the shipped model itself: tiles against the whole picture, and moved grids.

Paddle Lite computes a cell alike to within 1e-6 wherever it lies in a tile, so a score that falls between two bytes may
be rounded to either: planes of bytes may differ by one step, in a few cells of a million.
"""

import importlib.util
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import Pipe
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.inference.bundle import load_bundle, machine_target
from edge_runtime.values import InputContract, Mask, Recipe, TileGrid
from edge_runtime.vision.blobs import find_defects, foreground_cells
from edge_runtime.vision.boards import BINARY, CAMERA, paint_board
from edge_runtime.vision.preprocess import TilePreprocessor, cut_tile, value_table
from edge_runtime.vision.stitching import mask_hw, place_core
from edge_runtime.vision.tiling import check_grid, core_box, plan_grid, plan_of

HERE = Path(__file__).parent
BUNDLE = HERE.parents[1] / "opt_models" / "board-unet" / "3"
RECIPE = Recipe("seams", join_px=6)
BYTE_STEP = 1
EQUAL_SHARE_MIN = 0.9999
FLOAT_TOLERANCE = 1e-4
UNWRITTEN = 99
MOVED_GRIDS, CANDIDATE_GRIDS = 3, 200
FLOAT_TILE_PX = 256
# The second needs no overlap where there is no margin; the last is lower than a tile.
BOARDS = [
    ((896, 896), CAMERA),
    ((1024, 1024), BINARY),
    ((960, 1216), CAMERA),
    ((1000, 1100), CAMERA),
    ((1000, 1100), BINARY),
    ((1001, 903), BINARY),
    ((400, 1100), BINARY),
]

pytestmark = pytest.mark.skipif(importlib.util.find_spec("paddlelite") is None, reason="needs paddlelite")


def painted(index: int) -> np.ndarray:
    image_hw, style = BOARDS[index]
    return paint_board(11, index, image_hw, replace(style, defects_mean=40.0, clean_share=0.0)).image


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@contextmanager
def lite_process(model: Path):
    """`predict(tile)`: the planes that a fresh predictor, in a process of its own, gives for tiles of one size.

    A bundle's predictor takes pictures, a bare file's float tiles.
    """
    ours, theirs = Pipe()
    command = [sys.executable, str(HERE / "lite_process.py"), str(model), str(theirs.fileno())]

    def predict(tile: np.ndarray) -> list[np.ndarray]:
        ours.send(tile)
        return ours.recv()

    with subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment()), ours:
        theirs.close()
        yield predict


def stitched(predict, image: np.ndarray, grid: TileGrid, mask_stride_px: int, prepared):
    """Every plane of a picture, from what `prepared(image, origin_yx)` makes of its tiles, as a worker does it."""
    planes: list[np.ndarray] = []
    for index, origin_yx in enumerate(grid.origins_yx):
        answers = predict(prepared(image, origin_yx))
        planes = planes or [np.full(mask_hw(grid.image_hw, mask_stride_px), UNWRITTEN, a.dtype) for a in answers]
        for plane, answer in zip(planes, answers, strict=True):
            place_core(plane, answer, plan_of(grid), index, mask_stride_px)
    return planes


def whole(model: Path, image: np.ndarray, contract: InputContract, mask_stride_px: int) -> list[np.ndarray]:
    """Every plane of a picture from a single run of a predictor of just that size, and with no code of the tiling.

    The picture is mirrored up to whole strides, and up to a tile where it is smaller.
    """
    assert (contract.channels, len(contract.mean)) == ("GRAY", 1)
    stride_px, tile_px = contract.stride_px, contract.tile_px
    (height, width), (rows, columns) = image.shape[:2], mask_hw(image.shape[:2], mask_stride_px)
    below, right = (max(-side % stride_px, tile_px - side) for side in (height, width))
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    padded = cv2.copyMakeBorder(grey, 0, below, 0, right, cv2.BORDER_REFLECT_101)
    values = value_table(contract.mean[0], contract.std[0])[padded]
    with lite_process(model) as predict:
        return [plane[:rows, :columns] for plane in predict(values[None, None])]


def moved_starts(rng: np.random.Generator, grid: TileGrid, starts: tuple[int, ...]) -> tuple[int, ...]:
    """Random origins between the first and the last, no two further apart than the margin allows."""
    margin_strides = -(-grid.margin_px // grid.stride_px)
    longest = grid.tile_px // grid.stride_px - 2 * margin_strides
    moved, left = [0], starts[-1] // grid.stride_px
    while left:
        step = int(rng.integers(min(left, (longest + 1) // 2), min(left, longest) + 1))
        moved.append(moved[-1] + step * grid.stride_px)
        left -= step
    return tuple(moved)


def crossing(defects, grid: TileGrid) -> int:
    """How many defects lie across the border of two cores."""
    boxes = [core_box(grid, index) for index in range(len(grid))]
    borders = [{box[axis] for box in boxes} - {0} for axis in (0, 1)]
    return sum(
        any(d.xyxy_px[axis] < border < d.xyxy_px[axis + 2] for axis in (0, 1) for border in borders[axis])
        for d in defects
    )


def moved_grids(seed: int, grid: TileGrid, defects) -> list[TileGrid]:
    """Of many random grids of the same tiles, those whose core borders cut through most defects."""
    rng = np.random.default_rng(seed)
    candidates = dict.fromkeys(
        replace(grid, ys=moved_starts(rng, grid, grid.ys), xs=moved_starts(rng, grid, grid.xs))
        for _ in range(CANDIDATE_GRIDS)
    )
    candidates.pop(grid, None)
    return sorted(candidates, key=lambda moved: -crossing(defects, moved))[:MOVED_GRIDS]


def differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(np.int16) - b)


# -- the shipped bundle: bytes ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Device:
    """The shipped bundle and a predictor of its tiles."""

    bundle: object
    predict: object

    @property
    def artefact(self) -> Path:
        return self.bundle.folder / self.bundle.artefact_for(machine_target()).file

    def plan(self, image: np.ndarray, margin_px: int | None = None) -> TileGrid:
        contract = self.bundle.input_contract
        margin_px = contract.margin_px if margin_px is None else margin_px
        return plan_grid(image.shape[:2], contract.tile_px, margin_px, contract.stride_px)

    def stitched(self, image: np.ndarray, grid: TileGrid) -> Mask:
        stride_px = self.bundle.mask_stride_px
        cut = partial(cut_tile, tile_px=grid.tile_px)
        return Mask(*stitched(self.predict, image, grid, stride_px, cut), stride_px)

    def whole(self, image: np.ndarray) -> Mask:
        stride_px = self.bundle.mask_stride_px
        return Mask(*whole(self.artefact, image, self.bundle.input_contract, stride_px), stride_px)

    def defects(self, image: np.ndarray, mask: Mask):
        return find_defects(mask, self.bundle.classes, RECIPE, image.shape[:2])


@dataclass(frozen=True)
class Scene:
    seed: int
    image: np.ndarray
    grid: TileGrid
    mask: Mask


@pytest.fixture(scope="module")
def device():
    with lite_process(BUNDLE) as predict:
        yield Device(load_bundle(BUNDLE), predict)


@pytest.fixture(scope="module", params=range(len(BOARDS)), ids=lambda index: "x".join(map(str, BOARDS[index][0])))
def scene(request, device) -> Scene:
    image = painted(request.param)
    grid = device.plan(image)
    return Scene(request.param, image, grid, device.stitched(image, grid))


def test_stitched_tiles_equal_the_whole_picture(device, scene):
    expected = device.whole(scene.image)
    assert len(scene.grid) > 1
    differing = differences(scene.mask.scores, expected.scores)
    assert differing.max() <= BYTE_STEP
    assert np.mean(differing == 0) >= EQUAL_SHARE_MIN
    defective = foreground_cells(expected, device.bundle.classes) > 0
    assert defective.any()
    assert np.array_equal(scene.mask.class_ids[defective], expected.class_ids[defective])


def test_moving_the_grid_does_not_change_the_defects(device, scene):
    planned = device.defects(scene.image, scene.mask)
    grids = moved_grids(scene.seed, scene.grid, planned)
    assert len(grids) == MOVED_GRIDS
    assert crossing(planned, grids[0]) > 0
    for grid in grids:
        check_grid(grid)
        mask = device.stitched(scene.image, grid)
        differing = differences(mask.scores, scene.mask.scores)
        assert differing.max() <= BYTE_STEP
        moved = device.defects(scene.image, mask)
        assert [replace(defect, score=0.0) for defect in moved] == [replace(defect, score=0.0) for defect in planned]
        # 0 unless a cell of a defect was rounded to the other byte: then the scores, too, are equal.
        step = differing[foreground_cells(mask, device.bundle.classes) > 0].max()
        assert max(abs(a.score - b.score) for a, b in zip(moved, planned, strict=True)) * 255 <= step + 1e-9


def test_without_a_margin_the_seams_show(device):
    """The control: the same boards, cores that reach to their tiles' edges."""
    worst, changed = 0, 0
    for index in range(len(BOARDS)):
        image = painted(index)
        masks = [device.stitched(image, device.plan(image, margin_px)) for margin_px in (None, 0)]
        worst = max(worst, int(differences(*(mask.scores for mask in masks)).max()))
        planned, bare = (device.defects(image, mask) for mask in masks)
        changed += planned != bare
    assert worst > 10 * BYTE_STEP
    assert changed > 0


# -- the same network with float scores -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def float_network(tmp_path_factory) -> tuple[Path, InputContract]:
    """A network of the shipped one's shape, random weights, and its contract with the radius the tools compute."""
    if importlib.util.find_spec("paddle") is None or machine_target() != "x86":
        pytest.skip("needs paddle to make a network with float scores, and an x86 machine to run it")
    folder = tmp_path_factory.mktemp("float")
    command = [sys.executable, str(HERE / "float_network.py"), str(folder), str(FLOAT_TILE_PX)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    radius_px = int(done.stdout.split()[-1])
    return folder / "scores.nb", InputContract("GRAY", (0.5,), (0.25,), FLOAT_TILE_PX, 8, radius_px)


@pytest.mark.parametrize("image_hw", [(512, 512), (500, 701), (200, 600)])
def test_float_scores_of_tiles_equal_those_of_the_whole_picture(float_network, image_hw):
    path, contract = float_network
    image = paint_board(12, 0, image_hw, CAMERA).image
    planned = plan_grid(image_hw, contract.tile_px, contract.margin_px, contract.stride_px)
    bare = plan_grid(image_hw, contract.tile_px, 0, contract.stride_px)
    with lite_process(path) as predict:
        (tiled,) = stitched(predict, image, planned, 2, TilePreprocessor(contract).tile)
        (seamed,) = stitched(predict, image, bare, 2, TilePreprocessor(contract).tile)
    (expected,) = whole(path, image, contract, 2)
    assert expected.dtype == np.float32
    assert expected.std() > 0.1
    assert np.abs(tiled - expected).max() <= FLOAT_TOLERANCE
    assert np.abs(seamed - expected).max() > 100 * FLOAT_TOLERANCE
