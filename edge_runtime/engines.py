"""The predictors by name: the part of the composition root that opens them, each imported only where it is wanted."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from edge_runtime.config_inspection import InspectionSettings
from edge_runtime.errors import BundleError
from edge_runtime.inference.bundle import Bundle, machine_target
from edge_runtime.inference.targets import READS
from edge_runtime.values import Polygon, Recipe
from edge_runtime.vision.tile_plan import PlanRules, plan_cost, ranked_plans, tiles_for, watched_part

if TYPE_CHECKING:
    from edge_runtime.interfaces import Segmenter

# Module and distributions of each backend that runs real networks; a board's own build may be called otherwise.
PACKAGES = {
    "paddle_lite": ("paddlelite", ("paddlelite",)),
    "onnxruntime": ("onnxruntime", ("onnxruntime", "onnxruntime-gpu")),
    "openvino": ("openvino", ("openvino",)),
    "rknn": ("rknnlite", ("rknn-toolkit-lite2",)),
}
USUAL_TARGETS = ("x86", "arm", "onnx", "rknn")


def engine_version(backend: str) -> str | None:
    """The version of what a backend needs, without importing it; None: not installed."""
    module, distributions = PACKAGES[backend]
    if importlib.util.find_spec(module) is None:
        return None
    for name in distributions:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "without metadata"


def target_of(inspection: InspectionSettings) -> str:
    """Which of a bundle's networks the configured backend runs on this machine. Raises BundleError."""
    if inspection.target is not None:
        return inspection.target
    form = READS.get(inspection.backend, "nb")
    return machine_target() if form == "nb" else form


def allowed_share(inspection: InspectionSettings, bundle: Bundle) -> float:
    """The share of a golden tile's cells that the configured arithmetic may move, as the bundle says."""
    target = target_of(inspection)
    coarse = {"openvino": inspection.openvino_precision, "rknn": "f16"}.get(inspection.backend, "f32")
    arithmetic = "int8" if target.endswith("+int8") else coarse
    return {str(name): share for name, share in bundle.artefact_for(target).allowed_shares.items()}.get(arithmetic, 0.0)


def engine_name(inspection: InspectionSettings) -> str:
    """The arithmetic behind a verdict, in the settings' words: the backend, and after colons what is not as usual.

    That is the network's target, openvino's precision, or the provider of onnxruntime: `openvino:bf16`.
    """
    told: list[str] = [inspection.backend]
    if inspection.target is not None and inspection.target not in USUAL_TARGETS:
        told.append(inspection.target)
    if inspection.backend == "openvino" and inspection.openvino_precision != "f32":
        told.append(inspection.openvino_precision)
    if inspection.backend == "onnxruntime" and inspection.onnxruntime_providers[0] != "cpu":
        told.append(inspection.onnxruntime_providers[0])
    return ":".join(told)


@dataclass(frozen=True)
class Tiles:
    """How a picture is covered: `count` tiles of `side_px`. `cost`: what `tile_plan` takes them to cost."""

    side_px: int
    count: int
    cost: float = 0.0

    def __str__(self) -> str:
        return f"{self.count} tile{'s' if self.count > 1 else ''} of {self.side_px} px"

    def of_busiest(self, workers: int) -> int:
        """How many the worker computes that has the most."""
        return -(-self.count // workers)


def with_tiles(inspection: InspectionSettings, bundle: Bundle, recipe: Recipe, image_hw: tuple[int, int]) -> Bundle:
    """The bundle with the tiles that suit pictures of this size and the recipe's region. Raises BundleError.

    Those of `inspection.tile_px` where that is set; else, of all that the network runs up to `inspection.tile_px_max`,
    those that cost least. It depends on the arguments alone: workers that share a picture's tiles must choose alike.
    """
    if inspection.backend == "scripted":
        return bundle if inspection.tile_px is None else replace(bundle, tile_px=inspection.tile_px)
    target = target_of(inspection)
    if inspection.tile_px is not None:
        return bundle.with_tiles(inspection.tile_px, target)
    if len(allowed_sides_px(inspection, bundle)) == len(bundle.tile_sides_px(target)) == 1:
        return bundle
    return bundle.with_tiles(tiles_worth_trying(inspection, bundle, recipe, image_hw)[0].side_px, target)


def allowed_sides_px(inspection: InspectionSettings, bundle: Bundle) -> range:
    """The sides that the network runs, up to `inspection.tile_px_max`. Raises BundleError where there is none."""
    sides_px, most_px = bundle.tile_sides_px(target_of(inspection)), inspection.tile_px_max
    allowed_px = sides_px if most_px is None else range(sides_px.start, min(sides_px.stop, most_px + 1), sides_px.step)
    if not allowed_px:
        raise BundleError(
            f"{bundle.folder}: its smallest tiles have {sides_px[0]} px, inspection.tile_px_max is {most_px}; raise it"
        )
    return allowed_px


def tiles_in_use(inspection: InspectionSettings, bundle: Bundle, recipe: Recipe, image_hw: tuple[int, int]) -> Tiles:
    """Those of `with_tiles`. Raises BundleError."""
    sized = with_tiles(inspection, bundle, recipe, image_hw)
    plan = tiles_for(sized.input_contract, sized.mask_stride_px, image_hw, recipe)
    return Tiles(plan.tile_px, len(plan), plan_cost(plan, inspection.workers))


def tiles_worth_trying(
    inspection: InspectionSettings, bundle: Bundle, recipe: Recipe, image_hw: tuple[int, int]
) -> Sequence[Tiles]:
    """For each number of tiles the side that is taken to cost least, the cheapest first. Raises BundleError."""
    contract, sides_px = bundle.manifest.input.contract(), allowed_sides_px(inspection, bundle)
    strides = (bundle.mask_stride_px, contract.margin_px, contract.stride_px)
    region = (recipe.include, recipe.ignore)
    default_px = min(contract.tile_px, sides_px[-1])
    return _ranked_tiles(image_hw, region, strides, sides_px, default_px, inspection.workers)


@lru_cache(maxsize=64)
def _ranked_tiles(
    image_hw: tuple[int, int],
    region: tuple[tuple[Polygon, ...], tuple[Polygon, ...]],
    strides: tuple[int, int, int],
    sides_px: range,
    default_px: int,
    workers: int,
) -> Sequence[Tiles]:
    """As `ranked_plans`; a start asks for the same several times."""
    include, ignore = region
    mask_stride_px, margin_px, stride_px = strides
    watched = watched_part(image_hw, Recipe("region", include=include, ignore=ignore), mask_stride_px, stride_px)
    plans = ranked_plans(watched, sides_px, default_px, PlanRules(margin_px, stride_px), workers)
    return tuple(Tiles(plan.tile_px, len(plan), plan_cost(plan, workers)) for plan in plans)


def usual_and_largest(inspection: InspectionSettings, bundle: Bundle) -> list[Bundle]:
    """The bundle with tiles of `inspection.tile_px`, or with its usual ones and the largest. Raises BundleError."""
    target, usual_px = target_of(inspection), bundle.input_contract.tile_px
    if inspection.backend == "scripted":
        return [bundle]
    sides_px = [inspection.tile_px] if inspection.tile_px else [usual_px, bundle.tile_sides_px(target)[-1]]
    return [bundle.with_tiles(side_px, target) for side_px in dict.fromkeys(sides_px)]


def build_segmenter(inspection: InspectionSettings, bundle: Bundle) -> Segmenter:
    """The configured backend, with the bundle's model loaded; on an NPU, on the first core that the settings name.

    Raises BundleError, InferenceError.
    """
    if inspection.backend == "scripted":
        from edge_runtime.inference.scripted import ScriptedSegmenter

        return ScriptedSegmenter(
            bundle.input_contract,
            bundle.mask_stride_px,
            predict_ms=inspection.scripted_predict_ms,
            busy=inspection.scripted_busy,
        )
    target, threads = target_of(inspection), inspection.threads
    if inspection.backend == "onnxruntime":
        from edge_runtime.inference.onnx_runtime import open_onnx_runtime

        spinning, providers = inspection.onnxruntime_spinning, inspection.onnxruntime_providers
        return open_onnx_runtime(bundle, target, threads, spinning, providers, inspection.onnxruntime_cache)
    if inspection.backend == "openvino":
        from edge_runtime.inference.open_vino import open_openvino

        return open_openvino(bundle, target, threads, inspection.openvino_precision)
    if inspection.backend == "rknn":
        from edge_runtime.inference.rknn_lite import open_rknn

        return open_rknn(bundle, target, inspection.rknn_cores[0])
    from edge_runtime.inference.paddle_lite import PaddleLiteSegmenter

    return PaddleLiteSegmenter(bundle, threads=threads, target=target)
