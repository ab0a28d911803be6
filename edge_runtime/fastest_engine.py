"""The backend `auto`: the fastest engine that passes a bundle's golden tiles on this machine, measured once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.clock import SystemClock
from edge_runtime.config import READS, InspectionSettings
from edge_runtime.engine_race import race
from edge_runtime.engines import PACKAGES, allowed_share, build_segmenter, engine_version, target_of, with_tiles
from edge_runtime.errors import EdgeRuntimeError, InferenceError
from edge_runtime.inference.bundle import Bundle, check_golden, machine_target
from edge_runtime.inference.engine_choice import Choice, keep_choice, machine_key, only_one, read_choice
from edge_runtime.inference.manifest import COARSE_TARGETS, ONNX_TARGETS, RKNN_TARGETS, form_of

if TYPE_CHECKING:
    from edge_runtime.interfaces import Segmenter
    from edge_runtime.values import Recipe

log = logging.getLogger(__name__)
CHOICES_NAME = "engines"


def open_proved(
    inspection: InspectionSettings,
    bundle: Bundle,
    data_dir: Path,
    limit_s: float,
    recipes: Mapping[int, Recipe],
    image_hw: tuple[int, int],
) -> dict[int, Segmenter]:
    """A predictor for each of the bundle's recipes, by its number, that has passed the golden tiles here.

    Recipes whose tiles have the same side share one. `image_hw`: the pictures to expect; `data_dir` and `limit_s` as in
    `settled`. Raises BundleError, InferenceError. A choice that did not hold is forgotten: the next start measures
    again.
    """
    chosen = settled(inspection, bundle, data_dir, limit_s)
    sized = {number: with_tiles(chosen, bundle, recipe, image_hw) for number, recipe in recipes.items()}
    for number, each in sized.items():
        log.debug("%s, recipe %d: tiles of %d px", bundle.model_id, number, each.input_contract.tile_px)
    try:
        by_side = {side: _proved(chosen, each) for side, each in _by_side(sized.values()).items()}
    except EdgeRuntimeError:
        if inspection.backend == "auto":
            _choice_path(bundle, data_dir).unlink(missing_ok=True)
        raise
    return {number: by_side[each.input_contract.tile_px] for number, each in sized.items()}


def _by_side(bundles: Iterable[Bundle]) -> dict[int, Bundle]:
    return {bundle.input_contract.tile_px: bundle for bundle in bundles}


def _proved(chosen: InspectionSettings, bundle: Bundle) -> Segmenter:
    segmenter = build_segmenter(chosen, bundle)
    if chosen.backend != "scripted":
        check_golden(bundle, segmenter, allowed_share(chosen, bundle))
    return segmenter


def settled(inspection: InspectionSettings, bundle: Bundle, data_dir: Path, limit_s: float) -> InspectionSettings:
    """The same settings with one backend in place of `auto`, measured by one process where no choice is kept.

    `limit_s` is for all engines together. Raises InferenceError when none passes. A disk that cannot be written costs a
    measurement at each start.
    """
    if inspection.backend != "auto":
        return inspection
    path, key = _choice_path(bundle, data_dir), _choice_key(inspection, bundle)
    choice = _standing(read_choice(path, key)) or _measured_alone(inspection, bundle, limit_s, path, key)
    best = choice.best
    if best is None:
        raise InferenceError(f"{bundle.folder}: no engine can be used: {choice}")
    log.info("%s: auto takes %s", bundle.model_id, choice)
    return _with_engine(inspection, bundle, best.backend, best.target, best.precision)


def _measured_alone(
    inspection: InspectionSettings, bundle: Bundle, limit_s: float, path: Path, key: dict[str, str]
) -> Choice:
    """What another process has kept meanwhile, or a new choice, kept where the disk takes it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(only_one(path.parent))
        except OSError as exc:
            log.warning("%s: no lock (%s): every worker measures the engines", path.parent, exc)
        before = read_choice(path, key)
        if (standing := _standing(before)) is not None:
            return standing
        choice = measured(inspection, bundle, limit_s, key, attempts=before.attempts + 1 if before is not None else 1)
        if choice.best is None and before is not None:
            return before
        try:
            keep_choice(path, choice)
        except OSError as exc:
            log.warning("%s: cannot be written (%s): the engines are measured at each start", path, exc)
    return choice


def _standing(choice: Choice | None) -> Choice | None:
    return choice if choice is not None and choice.stands_at(SystemClock().utc_now()) else None


def told_engine(inspection: InspectionSettings, bundle: Bundle, data_dir: Path) -> str:
    """What runs the bundle, in words, without measuring. Raises BundleError for a network that the bundle lacks."""
    if inspection.backend == "auto":
        choice = read_choice(_choice_path(bundle, data_dir), _choice_key(inspection, bundle))
        return f"auto: {choice or 'measured at the next start'}"
    return f"{bundle.artefact_for(target_of(inspection)).file} by {inspection.backend}"


def candidates(inspection: InspectionSettings, bundle: Bundle) -> Iterator[InspectionSettings]:
    """Every way to run this bundle that is installed here and as exact as wanted, one backend each."""
    targets = {artefact.target: artefact.allowed_shares for artefact in bundle.manifest.artefacts}
    wanted = [name for name in (machine_target(), *ONNX_TARGETS, *RKNN_TARGETS) if name in targets]
    for target in wanted if inspection.target is None else [inspection.target]:
        if target in COARSE_TARGETS and not inspection.auto_coarse and inspection.target is None:
            continue
        for backend, form in READS.items():
            if form != form_of(target) or engine_version(backend) is None:
                continue
            yield _with_engine(inspection, bundle, backend, target, "f32")
            if backend == "openvino" and target == "onnx" and inspection.auto_coarse and "bf16" in targets[target]:
                yield _with_engine(inspection, bundle, backend, target, "bf16")


def measured(
    inspection: InspectionSettings,
    bundle: Bundle,
    limit_s: float,
    key: dict[str, str] | None = None,
    attempts: int = 1,
) -> Choice:
    """Every candidate tried, see `race`."""
    log.info("%s: measuring the engines of this machine", bundle.model_id)
    trials = race(candidates(inspection, bundle), limit_s)
    return Choice(key=key or {}, measured_at=SystemClock().utc_now(), trials=tuple(trials), attempts=attempts)


def _with_engine(
    inspection: InspectionSettings, bundle: Bundle, backend: str, target: str, precision: str
) -> InspectionSettings:
    changes = {"bundle": bundle.folder, "backend": backend, "target": target, "openvino_precision": precision}
    return InspectionSettings.model_validate({**inspection.model_dump(), "auto_coarse": False, **changes})


def _choice_path(bundle: Bundle, data_dir: Path) -> Path:
    return data_dir / CHOICES_NAME / f"{bundle.manifest.name}-{bundle.digest[:16]}.json"


def _choice_key(inspection: InspectionSettings, bundle: Bundle) -> dict[str, str]:
    """All that the measurement depends on."""
    versions = {backend: engine_version(backend) or "none" for backend in PACKAGES}
    without = {"bundle", "workers", "hang_timeout_ms", "backend", "tile_px", "rknn_cores"}
    told = inspection.model_dump_json(exclude=without)
    return {"bundle": bundle.digest, **machine_key(), **versions, "numpy": version("numpy"), "settings": told}
