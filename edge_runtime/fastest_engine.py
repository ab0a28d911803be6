"""The backend `auto`: the fastest engine that passes a bundle's golden tiles on this machine, measured once."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.clock import SystemClock
from edge_runtime.config import Settings
from edge_runtime.config_inspection import InspectionSettings
from edge_runtime.engine_race import computes_alone, race
from edge_runtime.engines import (
    PACKAGES,
    Tiles,
    allowed_share,
    build_segmenter,
    engine_name,
    engine_version,
    target_of,
    tiles_in_use,
    with_tiles,
)
from edge_runtime.errors import BundleError, EdgeRuntimeError, InferenceError
from edge_runtime.inference.bundle import Bundle, machine_target
from edge_runtime.inference.engine_choice import Choice, Trial, keep_choice, machine_key, only_one, read_choice
from edge_runtime.inference.proof import check_golden
from edge_runtime.inference.targets import COARSE_TARGETS, ONNX_TARGETS, READS, RKNN_TARGETS, form_of

if TYPE_CHECKING:
    from edge_runtime.interfaces import Segmenter
    from edge_runtime.values import Recipe

log = logging.getLogger(__name__)
CHOICES_NAME = "engines"


@dataclass(frozen=True)
class Use:
    """What a bundle is used for: its recipes, at least one, by their numbers, on pictures of this size."""

    recipes: Mapping[int, Recipe]
    image_hw: tuple[int, int]

    def __post_init__(self) -> None:
        if not self.recipes:
            raise ValueError("a bundle that no recipe uses")

    @classmethod
    def of(cls, settings: Settings, folder: Path) -> Use:
        """What the settings have the bundle in this folder do, spelt as they spell it; pictures: the camera's largest.

        Raises ValueError for a folder that they do not name.
        """
        entries = settings.numbered_recipes.items()
        recipes = {number: entry.recipe.value() for number, entry in entries if entry.bundle == folder}
        return cls(recipes, (settings.camera.height_px, settings.camera.width_px))

    def largest_tiles(self, inspection: InspectionSettings, bundle: Bundle) -> Tiles:
        """Of the tiles that the recipes take, those with the largest side. Raises BundleError."""
        every = [tiles_in_use(inspection, bundle, recipe, self.image_hw) for recipe in self.recipes.values()]
        return max(every, key=lambda tiles: (tiles.side_px, tiles.count))


@dataclass(frozen=True)
class Store:
    """Where choices are kept; `limit_s`: how long all engines of a bundle may take together.

    `may_repeat`: a choice made on a busy machine may be made anew. Not in a worker that joins others: all parts of a
    picture are computed alike.
    """

    data_dir: Path
    limit_s: float
    may_repeat: bool = True


def open_proved(
    inspection: InspectionSettings, bundle: Bundle, use: Use, store: Store
) -> tuple[dict[int, Segmenter], str]:
    """A predictor for each of the bundle's recipes, by its number, that has passed the golden tiles here; their engine.

    Recipes whose tiles have the same side share one. Raises BundleError, InferenceError. A choice that did not hold is
    forgotten: the next start measures again.
    """
    chosen = settled(inspection, bundle, use, store)
    sized = {number: with_tiles(chosen, bundle, recipe, use.image_hw) for number, recipe in use.recipes.items()}
    for number, each in sized.items():
        log.debug("%s, recipe %d: tiles of %d px", bundle.model_id, number, each.input_contract.tile_px)
    try:
        by_side = {side: _proved(chosen, each) for side, each in _by_side(sized.values()).items()}
    except EdgeRuntimeError:
        if inspection.backend == "auto":
            _choice_path(bundle, store.data_dir, _sides_of(inspection, bundle, use)).unlink(missing_ok=True)
        raise
    return {number: by_side[each.input_contract.tile_px] for number, each in sized.items()}, engine_name(chosen)


def _by_side(bundles: Iterable[Bundle]) -> dict[int, Bundle]:
    return {bundle.input_contract.tile_px: bundle for bundle in bundles}


def _proved(chosen: InspectionSettings, bundle: Bundle) -> Segmenter:
    segmenter = build_segmenter(chosen, bundle)
    if chosen.backend != "scripted":
        check_golden(bundle, segmenter, allowed_share(chosen, bundle))
    return segmenter


def settled(inspection: InspectionSettings, bundle: Bundle, use: Use, store: Store) -> InspectionSettings:
    """The same settings with one backend in place of `auto`, measured by one process where no choice is kept.

    Engines are compared by the largest tiles in use. Raises InferenceError when none can be used. A disk that cannot be
    written costs a measurement at each start.
    """
    if inspection.backend != "auto":
        return inspection
    sides = _sides_of(inspection, bundle, use)
    path, key = _choice_path(bundle, store.data_dir, sides), _choice_key(inspection, bundle, sides)
    choice = _standing(read_choice(path, key), store) or _measured_alone(inspection, bundle, use, store, path, key)
    best = choice.best
    if best is None:
        raise InferenceError(f"{bundle.folder}: no engine can be used: {choice}")
    log.log(logging.WARNING if choice.is_doubtful else logging.INFO, "%s: auto takes %s", bundle.model_id, choice)
    return _with_engine(inspection, bundle, best.backend, best.target, best.precision)


def _measured_alone(
    inspection: InspectionSettings, bundle: Bundle, use: Use, store: Store, path: Path, key: dict[str, str]
) -> Choice:
    """What another process has kept meanwhile, or a new choice, kept where the disk takes it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(only_one(path.parent))
        except OSError as exc:
            log.warning("%s: no lock (%s): every worker measures the engines", path.parent, exc)
        before = read_choice(path, key)
        if (standing := _standing(before, store)) is not None:
            return standing
        choice = measured(inspection, bundle, use, store.limit_s, key)
        choice = choice if before is None else choice.joined(before)
        try:
            keep_choice(path, choice)
        except OSError as exc:
            log.warning("%s: cannot be written (%s): the engines are measured at each start", path, exc)
    return choice


def _standing(choice: Choice | None, store: Store) -> Choice | None:
    stands = choice is not None and (not store.may_repeat or choice.stands_at(SystemClock().utc_now()))
    return choice if stands else None


def told_engine(inspection: InspectionSettings, bundle: Bundle, use: Use, data_dir: Path) -> str:
    """What runs the bundle, in words, without measuring. Raises BundleError for a network that the bundle lacks."""
    if inspection.backend == "auto":
        sides = _sides_of(inspection, bundle, use)
        choice = read_choice(_choice_path(bundle, data_dir, sides), _choice_key(inspection, bundle, sides))
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
    inspection: InspectionSettings, bundle: Bundle, use: Use, limit_s: float, key: dict[str, str] | None = None
) -> Choice:
    """Every candidate tried with the largest of its tiles in use, see `race`. Raises BundleError as `_entrants`."""
    entrants = _entrants(inspection, bundle, use)
    sides = sorted({tiles.side_px for _, tiles in entrants})
    log.info("%s: measuring the engines of this machine, tiles of %s px", bundle.model_id, sides)
    load = os.getloadavg()[0]
    trials = race([each.model_copy(update={"tile_px": tiles.side_px}) for each, tiles in entrants], limit_s)
    trials = [
        trial.model_copy(update={"tiles": tiles.of_busiest(each.workers)})
        for trial, (each, tiles) in zip(trials, entrants, strict=True)
    ]
    loaded = _was_loaded(
        [(trial, computes_alone(each)) for trial, (each, _) in zip(trials, entrants, strict=True)], load
    )
    return Choice(key=key or {}, measured_at=SystemClock().utc_now(), trials=tuple(trials), loaded=loaded)


def _entrants(inspection: InspectionSettings, bundle: Bundle, use: Use) -> list[tuple[InspectionSettings, Tiles]]:
    """The candidates that run the tiles wanted, with the largest of them. Raises BundleError where none does."""
    entrants, problem = [], None
    for each in candidates(inspection, bundle):
        try:
            entrants.append((each, use.largest_tiles(each, bundle)))
        except BundleError as exc:
            problem = exc
    if problem is not None and not entrants:
        raise problem
    return entrants


def _with_engine(
    inspection: InspectionSettings, bundle: Bundle, backend: str, target: str, precision: str
) -> InspectionSettings:
    changes = {"bundle": bundle.folder, "backend": backend, "target": target, "openvino_precision": precision}
    return InspectionSettings.model_validate({**inspection.model_dump(), "auto_coarse": False, **changes})


def _was_loaded(trials: Iterable[tuple[Trial, bool]], load: float) -> bool:
    """Whether an engine had to wait for its processor; the others do not tell: by the machine's load before them."""
    alone = [trial for trial, computes_alone in trials if computes_alone and trial.tile_ms]
    return any(trial.waited for trial in alone) if alone else load > (os.cpu_count() or 1)


def _sides_of(inspection: InspectionSettings, bundle: Bundle, use: Use) -> dict[str, Tiles]:
    """The largest tiles in use by each network that may be measured."""
    return {target_of(each): tiles for each, tiles in _entrants(inspection, bundle, use)}


def _choice_path(bundle: Bundle, data_dir: Path, sides: Mapping[str, Tiles]) -> Path:
    """Of a side its own: pictures of two sizes in turn are not measured at each change."""
    largest_px = max((tiles.side_px for tiles in sides.values()), default=bundle.input_contract.tile_px)
    return data_dir / CHOICES_NAME / f"{bundle.manifest.name}-{bundle.digest[:16]}-{largest_px}.json"


def _choice_key(inspection: InspectionSettings, bundle: Bundle, sides: Mapping[str, Tiles]) -> dict[str, str]:
    """All that the measurement depends on."""
    versions = {backend: engine_version(backend) or "none" for backend in PACKAGES}
    without = {"bundle", "workers", "hang_timeout_ms", "backend", "tile_px", "tile_px_max", "rknn_cores"}
    told = inspection.model_dump_json(exclude=without)
    tiles = "; ".join(
        f"{target}: {each.of_busiest(inspection.workers)} × {each.side_px}" for target, each in sides.items()
    )
    key = {"bundle": bundle.digest, **machine_key(), **versions, "numpy": version("numpy")}
    return {**key, "tiles": tiles, "settings": told}
