"""The engines that a tune may choose from."""

from __future__ import annotations

from edge_runtime.config_inspection import InspectionSettings
from edge_runtime.engines import target_of
from edge_runtime.fastest_engine import candidates
from edge_runtime.inference.bundle import Bundle, machine_target
from edge_runtime.inference.targets import COARSE_TARGETS
from edge_runtime.tuning.setups import Engine


def is_coarse(inspection: InspectionSettings) -> bool:
    """Whether the settings allow arithmetic coarser than the network's own."""
    return inspection.auto_coarse or inspection.openvino_precision != "f32" or target_of(inspection) in COARSE_TARGETS


def engines_to_try(inspection: InspectionSettings, bundle: Bundle, keep_engine: bool) -> list[Engine]:
    """The configured engine first, then every other that is installed and as exact as the settings want.

    With `keep_engine`, and for the scripted backend, the configured one alone. `auto` stands for all.
    """
    own = [] if inspection.backend == "auto" else [engine_of(inspection)]
    if own and (keep_engine or inspection.backend == "scripted"):
        return own
    every = {"backend": "auto", "target": None, "openvino_precision": "f32", "auto_coarse": is_coarse(inspection)}
    auto = InspectionSettings.model_validate({**inspection.model_dump(), **every})
    return list(dict.fromkeys([*own, *map(engine_of, candidates(auto, bundle))]))


def engine_of(inspection: InspectionSettings) -> Engine:
    """The engine of settings that name one."""
    one_thread = inspection.backend == "rknn" or (inspection.backend == "paddle_lite" and machine_target() == "x86")
    target = None if inspection.backend == "scripted" else target_of(inspection)
    return Engine(inspection.backend, target, inspection.openvino_precision, 1 if one_thread else 64)
