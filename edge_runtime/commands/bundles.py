"""`edge-runtime bundle …`."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from rich.console import Console
from rich.table import Table

from edge_runtime.config_inspection import InspectionSettings
from edge_runtime.engines import allowed_share, build_segmenter, usual_and_largest
from edge_runtime.errors import BundleError, ConfigError
from edge_runtime.fastest_engine import Use, measured
from edge_runtime.inference.bundle import Bundle, load_bundle
from edge_runtime.inference.proof import VerifyReport, verify_bundle
from edge_runtime.interfaces import Segmenter
from edge_runtime.values import Recipe

MEASURE_LIMIT_S = 600.0


def measure(inspection: InspectionSettings, image_hw: tuple[int, int] | None) -> bool:
    """Print how fast each engine runs the bundle here, one after the other; whether any can. Raises BundleError.

    With the tiles that pictures of this size take; None: with the bundle's usual ones.
    """
    bundle = load_bundle(inspection.bundle)
    if image_hw is None:
        usual_px = bundle.input_contract.tile_px
        inspection, image_hw = inspection.model_copy(update={"tile_px": usual_px}), (usual_px, usual_px)
    choice = measured(inspection, bundle, Use({1: Recipe("any")}, image_hw), MEASURE_LIMIT_S)
    title = f"{bundle.model_id}: one tile, {inspection.threads} threads"
    table = Table("engine", "network", "tile, px", "ms, or what is wrong", title=title)
    for trial in choice.trials:
        told = trial.problem if trial.tile_ms is None else f"{trial.tile_ms:.1f}"
        table.add_row(trial.name, bundle.artefact_for(trial.target).file, str(trial.tile_px), told)
    Console().print(table)
    return choice.best is not None


def verify(inspection: InspectionSettings) -> None:
    """Print the golden tiles' figures. Raises BundleError when the bundle must not be used here in this way."""
    if inspection.backend == "auto":
        raise ConfigError("backend auto: name one to verify; `edge-runtime bundle measure` tries all")
    report = _verify_in_child(inspection)
    table = Table("golden tile", title=f"{report.model_id}: in order")
    for tile in report.tiles:
        table.add_row(str(tile))
    Console().print(table)


def _verify_in_child(inspection: InspectionSettings) -> VerifyReport:
    """The predictor answers a bad model with abort(), so it runs in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as child:
        try:
            return child.submit(_verify, inspection).result()
        except BrokenProcessPool as exc:
            raise BundleError(
                f"{inspection.bundle}: the predictor crashed on this model; do not use it on this machine"
            ) from exc


def _verify(inspection: InspectionSettings) -> VerifyReport:
    def open_segmenter(bundle: Bundle) -> Segmenter:
        return build_segmenter(inspection, bundle)

    def sized(bundle: Bundle) -> list[Bundle]:
        return usual_and_largest(inspection, bundle)

    return verify_bundle(inspection.bundle, open_segmenter, lambda bundle: allowed_share(inspection, bundle), sized)
