"""The worker's side: pictures to verdicts through the daemon's own code. The predictor may abort the process."""

from __future__ import annotations

import faulthandler
import platform
import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge_runtime.commands.templates import read_template
from edge_runtime.config_recipe import RecipeSettings
from edge_runtime.errors import BundleError, CameraError, EdgeRuntimeError
from edge_runtime.inference.bundle import Bundle, load_bundle, machine_target
from edge_runtime.inference.paddle_lite import PaddleLiteSegmenter
from edge_runtime.inference.proof import check_golden
from edge_runtime.inference.scripted import ScriptedSegmenter
from edge_runtime.interfaces import Segmenter
from edge_runtime.pictures import grey_of, read_picture
from edge_runtime.values import Mask
from edge_runtime.vision.blobs import find_defects
from edge_runtime.vision.decision import decide
from edge_runtime.vision.preprocess import cut_tile
from edge_runtime.vision.registration import register_template
from edge_runtime.vision.stitching import mask_hw, place_core
from edge_runtime.vision.tile_plan import tiles_for
from tools.errors import ToolError
from tools.reinspection.templates import template_file
from tools.reinspection.values import FAILED, UNREADABLE, InspectionSpec, PictureResult, Results, not_inspected

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

_one_at_a_time = threading.Lock()


def inspect_pictures(spec: InspectionSpec, paths: Sequence[str]) -> Results:
    """The results of `paths`, in their order; a picture that cannot be inspected is one that says why.

    Raises BundleError or InferenceError when this process cannot inspect at all. Dies when the predictor does, and when
    a picture takes longer than it may. The process keeps its predictor for the next call.
    Synchronization: any thread; calls wait for each other.
    """
    with _one_at_a_time:
        inspector = _inspector(spec)
        return tuple(inspector.inspect(path) for path in paths)


def check_worker(spec: InspectionSpec) -> str:
    """Make the predictor and run the golden tiles; the model's id. Raises and dies as `inspect_pictures` does."""
    with _one_at_a_time:
        return _inspector(spec).model_id


@lru_cache(maxsize=1)
def _inspector(spec: InspectionSpec) -> PictureInspector:
    cv2.setNumThreads(1)
    for path in (spec.pictures_folder, spec.template):
        if path is not None and not Path(path).exists():
            raise ToolError(f"{path}: is not there on {platform.node()}; every worker needs it at this path")
    bundle = load_bundle(Path(spec.bundle_folder))
    if bundle.digest != spec.bundle_digest:
        raise BundleError(
            f"{bundle.folder}: is {bundle.model_id} on this worker, not the bundle asked for; copy that one"
        )
    if spec.tile_px is not None:
        bundle = bundle.with_tiles(spec.tile_px, machine_target())
    segmenter = _open_segmenter(bundle, spec.backend)
    check_golden(bundle, segmenter)
    return PictureInspector(bundle, segmenter, spec)


def _open_segmenter(bundle: Bundle, backend: str) -> Segmenter:
    if backend == "scripted":
        class_ids = [each.class_id for each in bundle.classes]
        return ScriptedSegmenter(bundle.input_contract, bundle.mask_stride_px, classes=class_ids)
    return PaddleLiteSegmenter(bundle)


class PictureInspector:
    """One predictor and what it needs to judge whole pictures of any size."""

    def __init__(self, bundle: Bundle, segmenter: Segmenter, spec: InspectionSpec) -> None:
        self.model_id = bundle.model_id
        self._classes = bundle.classes
        self._class_names = {each.class_id: each.name for each in bundle.classes}
        self._segmenter = segmenter
        self._recipe = RecipeSettings.model_validate_json(spec.recipe_json).value()
        self._pictures_folder = Path(spec.pictures_folder)
        self._template_source = None if spec.template is None else Path(spec.template)
        self._picture_limit_s = spec.picture_limit_s

    def inspect(self, path: str) -> PictureResult:
        """Never raises for what is wrong with a picture."""
        faulthandler.dump_traceback_later(self._picture_limit_s, exit=True, file=2)
        try:
            image = read_picture(self._pictures_folder / path)
            return self._inspect_image(path, image, self._read_template(path, image))
        except CameraError as exc:
            return not_inspected(path, UNREADABLE, str(exc))
        except (EdgeRuntimeError, ValueError, MemoryError, cv2.error) as exc:
            return not_inspected(path, FAILED, f"{type(exc).__name__}: {exc}")
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _read_template(self, path: str, image: ImageU8) -> ImageU8 | None:
        if self._template_source is None:
            return None
        return read_template(template_file(self._template_source, path), Path(path), image.shape[:2])

    def _inspect_image(self, path: str, image: ImageU8, template: ImageU8 | None) -> PictureResult:
        started_s = time.perf_counter()
        image_hw = (image.shape[0], image.shape[1])
        laid = None if template is None else register_template(grey_of(image), template)
        mask, tiles = self._segment(image, image_hw, laid)
        defects = find_defects(mask, self._classes, self._recipe, image_hw)
        outcome, reasons = decide(defects, self._recipe, self._class_names)
        ms = (time.perf_counter() - started_s) * 1000
        return PictureResult(path, outcome, reasons, None, image_hw, tiles, ms, tuple(defects))

    def _segment(self, image: ImageU8, image_hw: tuple[int, int], template: ImageU8 | None) -> tuple[Mask, int]:
        """The stitched mask and how many tiles it took."""
        contract, stride_px = self._segmenter.input_contract, self._segmenter.mask_stride_px
        plan = tiles_for(contract, stride_px, image_hw, self._recipe)
        planes = [np.zeros(mask_hw(image_hw, stride_px), np.uint8) for _ in range(2)]
        for index, origin_yx in enumerate(plan.origins_yx):
            cut = None if template is None else cut_tile(template, origin_yx, contract.tile_px)
            answers = self._segmenter.predict(cut_tile(image, origin_yx, contract.tile_px), cut)
            for plane, answer in zip(planes, answers, strict=True):
                place_core(plane, answer, plan, index, stride_px)
        return Mask(planes[0], planes[1], stride_px), len(plan)
