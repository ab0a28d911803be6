"""Tiles of many sides from one file: each side proved, each the same picture, none that the bundle does not offer."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.app import build_pool
from edge_runtime.commands.inspect import pool_settings
from edge_runtime.config_inspection import InspectionSettings
from edge_runtime.config_recipe import RecipeSettings
from edge_runtime.engines import PACKAGES, build_segmenter, engine_version, usual_and_largest, with_tiles
from edge_runtime.errors import BundleError
from edge_runtime.inference.bundle import load_bundle, machine_target
from edge_runtime.inference.onnx_runtime import open_onnx_runtime
from edge_runtime.inference.open_vino import open_openvino
from edge_runtime.inference.proof import check_golden
from edge_runtime.values import Mask, Outcome, Recipe, Zone
from edge_runtime.vision.boards import BINARY, paint_board
from edge_runtime.vision.preprocess import cut_tile
from edge_runtime.vision.regions import watched_cells
from edge_runtime.vision.stitching import mask_hw, place_core
from edge_runtime.vision.tile_plan import tiles_for

BUNDLE = Path(__file__).parents[2] / "opt_models" / "board-unet" / "3"
WHOLE = Recipe("whole")
SIDES_PX = (256, 384, 640, 1136)


@pytest.fixture(params=PACKAGES)
def engine(request):
    """Settings of a backend that is installed."""
    if engine_version(request.param) is None or (request.param == "paddle_lite" and machine_target() != "x86"):
        pytest.skip(f"needs {request.param}")
    return InspectionSettings(bundle=BUNDLE, backend=request.param, workers=1)


def stitched(segmenter, image: np.ndarray) -> Mask:
    contract, stride_px = segmenter.input_contract, segmenter.mask_stride_px
    plan = tiles_for(contract, stride_px, image.shape[:2], WHOLE)
    planes = [np.full(mask_hw(plan.image_hw, stride_px), 99, np.uint8) for _ in range(2)]
    for index, origin_yx in enumerate(plan.origins_yx):
        answers = segmenter.predict(cut_tile(image, origin_yx, contract.tile_px))
        for plane, answer in zip(planes, answers, strict=True):
            place_core(plane, answer, plan, index, stride_px)
    return Mask(*planes, stride_px)


def test_every_side_passes_the_golden_tiles_and_gives_the_same_picture(engine):
    """One tile of 640 px is the whole picture at once, which tiles of other sides must equal."""
    bundle = load_bundle(BUNDLE)
    image = paint_board(5, 0, (640, 640), replace(BINARY, defects_mean=20.0, clean_share=0.0)).image
    masks = {}
    for side_px in SIDES_PX:
        sized = with_tiles(engine.model_copy(update={"tile_px": side_px}), bundle, WHOLE, (640, 640))
        segmenter = build_segmenter(engine, sized)
        assert all(report.passed for report in check_golden(sized, segmenter))
        masks[side_px] = stitched(segmenter, image)
        segmenter.close()
    whole = masks.pop(640)
    assert (whole.scores > 128).any()
    for side_px, mask in masks.items():
        if side_px == 1136:
            continue  # larger than the picture: its far borders are mirrored, not the picture's end
        differing = np.abs(mask.scores.astype(int) - whole.scores)
        assert differing.max() <= 1, side_px
        assert np.mean(differing == 0) > 0.9999
        sure = whole.scores > 128
        assert np.array_equal(mask.class_ids[sure], whole.class_ids[sure])


def test_a_side_that_is_not_offered_is_refused_with_those_that_are(engine):
    bundle = load_bundle(BUNDLE)
    for side_px in (248, 260, 1144):
        wrong = engine.model_copy(update={"tile_px": side_px})
        with pytest.raises(BundleError, match=rf"tiles of {side_px} px: .* runs 256 to 1136 in steps of 8"):
            with_tiles(wrong, bundle, WHOLE, (640, 640))


@pytest.mark.parametrize(
    ("image_hw", "workers", "tile_px"), [((2048, 2048), 2, 1088), ((640, 640), 1, 640), ((640, 640), 2, 384)]
)
def test_the_side_follows_the_picture_and_the_workers(image_hw, workers, tile_px):
    told = InspectionSettings(bundle=BUNDLE, backend="onnxruntime", workers=workers)
    assert with_tiles(told, load_bundle(BUNDLE), WHOLE, image_hw).input_contract.tile_px == tile_px


@pytest.mark.parametrize(("tile_px_max", "tile_px"), [(4096, 1088), (1088, 1088), (1087, 768), (767, 608), (256, 256)])
def test_no_side_is_larger_than_the_bound(tile_px_max, tile_px):
    """Not the bundle's usual one either."""
    told = InspectionSettings(bundle=BUNDLE, backend="onnxruntime", tile_px_max=tile_px_max)
    assert with_tiles(told, load_bundle(BUNDLE), WHOLE, (2048, 2048)).input_contract.tile_px == tile_px


def test_a_bound_that_leaves_no_side_is_refused(onnx_bundle):
    told = InspectionSettings(bundle=onnx_bundle.folder, backend="onnxruntime", tile_px_max=63)
    with pytest.raises(BundleError, match=r"smallest tiles have 64 px, inspection\.tile_px_max is 63; raise it"):
        with_tiles(told, onnx_bundle, WHOLE, (2048, 2048))


def test_a_side_beyond_its_bound_is_refused():
    with pytest.raises(ValueError, match="tile_px 512 exceeds tile_px_max 511: leave one of them out"):
        InspectionSettings(bundle=BUNDLE, tile_px=512, tile_px_max=511)


def test_a_bundle_of_one_side_is_used_with_it(onnx_bundle):
    told = InspectionSettings(bundle=onnx_bundle.folder, backend="onnxruntime")
    assert with_tiles(told, onnx_bundle, WHOLE, (2048, 2048)) is onnx_bundle
    assert usual_and_largest(told, onnx_bundle) == [replace(onnx_bundle, tile_px=64)]


def test_verifying_proves_the_usual_side_and_the_largest():
    told = InspectionSettings(bundle=BUNDLE, backend="onnxruntime")
    sized = usual_and_largest(told, load_bundle(BUNDLE))
    assert [each.input_contract.tile_px for each in sized] == [512, 1136]


@pytest.mark.parametrize("open_it", [open_onnx_runtime, open_openvino])
def test_a_file_of_one_side_that_is_said_to_run_many_is_refused(onnx_bundle, open_it):
    """ONNX Runtime says so itself, OpenVINO can change the sides of any file, whose answers then must be right."""
    pytest.importorskip("openvino" if open_it is open_openvino else "onnxruntime")
    path = onnx_bundle.folder / "manifest.json"
    raw = json.loads(path.read_text())
    raw["artefacts"][0]["tile_range_px"] = [48, 64]
    path.write_text(json.dumps(raw))
    small = load_bundle(onnx_bundle.folder).with_tiles(48, "onnx")
    if open_it is open_onnx_runtime:
        with pytest.raises(BundleError, match="the manifest promises"):
            open_it(small)
    else:
        assert all(report.passed for report in check_golden(small, open_it(small)))


def test_workers_compute_only_the_region_and_leave_nothing_of_an_earlier_picture(scripted_bundle):
    square = ((70.0, 70.0), (150.0, 70.0), (150.0, 150.0), (70.0, 150.0))
    marked = np.full((640, 640, 3), 10, np.uint8)
    marked[::90] = 103  # class 3, within the region and outside
    clean = np.full((640, 640, 3), 10, np.uint8)
    results = {}
    for name, include in (("all", ()), ("region", (square,))):
        settings = pool_settings(scripted_bundle.folder, RecipeSettings(include=include), 2, "scripted")
        with build_pool(settings, scripted_bundle.mask_stride_px) as pool:
            results[name] = [pool.inspect(picture) for picture in (marked, clean)]
    everything, region = results["all"][0], results["region"][0]
    assert region.tiles < everything.tiles / 4
    watched = watched_cells((square,), (), (320, 320), 2) > 0
    assert np.array_equal(region.mask.class_ids, np.where(watched, everything.mask.class_ids, 0))
    assert region.mask.class_ids.any()
    assert {(defect.xyxy_px[1], defect.zone) for defect in region.verdict.defects} == {
        (90, Zone.INSPECT),
        (180, Zone.IGNORE),
    }
    assert not results["region"][1].mask.class_ids.any()
    assert results["region"][1].verdict.outcome is Outcome.PASS
