"""`gate`, ready to be registered: `app.command()(gate)`."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from tools.options import BundleTarget, OneBackend, OpenVinoForm, predictor_of
from tools.progress import progress_bar

if TYPE_CHECKING:
    from tools.gating.run import GateDone


def gate(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, opt_models/NAME/VERSION; its model takes a template.")],
    data: Annotated[
        str, typer.Option(help="Labelled pictures to calibrate on, FOLDER or NAME=FOLDER; never those to report on.")
    ],
    out: Annotated[Path, typer.Option(help="New bundle folder, opt_models/NAME/NEW-VERSION.")],
    report: Annotated[list[str] | None, typer.Option(help="Labelled pictures to show the effect on; repeat.")] = None,
    miss_bound: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Largest share of defects that may be missed.")
    ] = 0.001,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.9999, help="How sure of that.")] = 0.95,
    margin: Annotated[
        float, typer.Option(min=0.05, max=1.0, help="Threshold, as a share of the lowest score of a defect.")
    ] = 0.75,
    lost: Annotated[
        int, typer.Option(min=0, help="Defects of the data that may lie below; the bound counts them.")
    ] = 0,
    tolerance: Annotated[
        list[int] | None, typer.Option(help="Pixels that edges may lie aside; repeat. Default: 0, 1, 2.")
    ] = None,
    block: Annotated[
        list[int] | None, typer.Option(help="Side of a block in pixels; repeat. Default: 3, 4, 6.")
    ] = None,
    reach: Annotated[list[int] | None, typer.Option(help="Pixels beyond a tile's core; repeat. Default: 4, 8.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes; default: one a core.")] = None,
    backend: OneBackend = None,
    target: BundleTarget = None,
    precision: OpenVinoForm = "f32",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Calibrate a gate that skips clean tiles, and write a version of the bundle that has it.

    Of the gates tried the one is taken that skips most tiles while every defect that the network finds scores above
    the threshold, but for --lost of them.
    """
    from tools.commands_pack import labelled_folder
    from tools.evaluation.processes import core_count
    from tools.gating.calibrate import Wish
    from tools.gating.run import GateRequest, candidates, gate_bundle

    request = GateRequest(
        bundle,
        out,
        labelled_folder(data),
        tuple(labelled_folder(one) for one in report or []),
        candidates(tolerance or (0, 1, 2), block or (3, 4, 6), reach or (4, 8)),
        Wish(miss_bound, confidence, margin, lost),
        workers or core_count(),
        predictor_of(backend, target, precision),
    )
    with progress_bar("segmenting") as advance:
        done = gate_bundle(request, advance)
    if json:
        reports = [asdict(one) for one in done.reports]
        told = {
            "bundle": str(done.bundle.folder),
            "gate": done.gate.model_dump(),
            "calibration": asdict(done.calibration),
        }
        print(json_module.dumps(told | {"reports": reports}))
    else:
        _show(done, Console())


def _show(done: GateDone, console: Console) -> None:
    gate, told = done.gate, done.gate.calibration
    size = f"tolerance {gate.tolerance_px} px, block {gate.block_px} px, reach {gate.reach_px} px"
    lines = (
        f"{done.bundle.folder}: {done.bundle.model_id}",
        f"{size}, threshold {gate.threshold:g}; the lowest score of a defect is {done.calibration.lowest_score:g}",
        f"{told.lost} of {told.defects} defects lost: with confidence {told.confidence:g} at most "
        f"{told.lost_share_max:.3%} are missed",
    )
    console.print("\n".join(lines), highlight=False)
    table = Table("", told.data_set, *(one.data_set for one in done.reports))
    effects = [done.calibration, *(one.effect for one in done.reports)]
    blank = [""]
    table.add_row("pictures", *(str(one.pictures) for one in effects))
    table.add_row("tiles skipped", *(f"{one.skipped} of {one.tiles} ({one.skipped_share:.1%})" for one in effects))
    table.add_row(
        "without a defect",
        *(f"{one.clean_skipped} of {one.clean_tiles} ({one.clean_skipped_share:.1%})" for one in effects),
    )
    table.add_row("defects lost with a tile", *(f"{one.lost} of {one.defects}" for one in effects))
    table.add_row("lost if alone in a tile", *(f"{one.lost_alone} of {one.defects}" for one in effects))
    table.add_row("labels not found, skipped", *(f"{one.unfound_skipped} of {one.unfound}" for one in effects))
    table.add_row("F without the gate", *blank, *(f"{one.f_full:.4f}" for one in done.reports))
    table.add_row("F with it", *blank, *(f"{one.f_gated:.4f}" for one in done.reports))
    table.add_row("verdicts changed", *blank, *(str(one.verdicts_changed) for one in done.reports))
    table.add_row("gate, ms a tile", *(f"{one.gate_ms:.2f}" for one in effects))
    table.add_row("network, ms a tile", *(f"{one.predict_ms:.1f}" for one in effects))
    table.add_row("saved, ms a tile", *(f"{one.saved_ms:.2f}" for one in effects))
    console.print(table)
