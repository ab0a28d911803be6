"""`compare-stages`: unpruned, pruned, distilled and quantised side by side, so that a drop shows where it happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path

from edge_runtime.files import write_atomically
from edge_runtime.inference.bundle import Bundle
from edge_runtime.inference.paddle_lite import PaddleLiteSegmenter
from edge_runtime.interfaces import Segmenter
from tools.dataset import Dataset
from tools.evaluate import ALL, segment_all
from tools.evaluation.data import labelled_for
from tools.evaluation.examine import Examined, examine
from tools.evaluation.summary import Figures, summarise
from tools.golden_pictures import made_pictures
from tools.machine import cpu_name
from tools.markdown import table
from tools.model_files import find_model
from tools.paddle_segmenter import ProgramSegmenter
from tools.progress import Advance
from tools.verify import tile_ms

Measured = Callable[[], None]
QUANTIZED = "quantised, simulated"


@dataclass(frozen=True)
class StageFigures:
    """One stage on one data set. `tile_ms`: Lite x86, all stages in one run; None where Paddle's simulation ran."""

    stage: str
    data_set: str
    parameters: int
    macs_per_tile: int
    file_bytes: int
    tile_ms: float | None
    cell_iou: float
    class_iou_mean: float
    precision: float
    recall: float
    f_score: float
    average_precision: float
    missed_parts: int
    false_alarm_parts: int


def compare_bundles(
    bundles: Sequence[Bundle], quantized: Path | None, data: Sequence[tuple[str, Path]], out: Path, advance: Advance
) -> list[StageFigures]:
    """Measure every stage's bundle on every data set and write stages.json and stages.md into `out`.

    `quantized`: an INT8 program made from the last stage's network, judged by Paddle's simulation with that stage's
    thresholds. `advance` is told after each picture of each stage. Runs the predictors in this process. Raises
    ToolError, BundleError, OSError.
    """
    datasets = [(label, labelled_for(folder, bundles[-1])) for label, folder in data]
    out.mkdir(parents=True, exist_ok=True)
    segmenters = [PaddleLiteSegmenter(bundle, threads=1) for bundle in bundles]
    times = _tile_times(segmenters)
    done = count(1)
    total = sum(len(dataset.pictures) for _, dataset in datasets) * (len(bundles) + (quantized is not None))

    def measured() -> None:
        advance(next(done), total)

    rows = []
    for label, dataset in datasets:
        for bundle, segmenter, ms in zip(bundles, segmenters, times, strict=True):
            rows.append(_measured(bundle, segmenter, label, dataset, ms, measured))
        if quantized is not None:
            rows.append(_measured_quantized(bundles[-1], quantized, label, dataset, measured))
    _write(out, rows)
    return rows


def _tile_times(segmenters: Sequence[Segmenter]) -> list[float]:
    contracts = [segmenter.input_contract for segmenter in segmenters]
    pictures = [made_pictures("boards", contract.tile_px, contract.template)[0] for contract in contracts]
    return tile_ms(segmenters, pictures)


def _measured(
    bundle: Bundle, segmenter: Segmenter, label: str, dataset: Dataset, ms: float | None, measured: Measured
) -> StageFigures:
    examined: list[Examined] = []
    for one in segment_all(segmenter, dataset):
        examined.append(examine(one, bundle.classes))
        measured()
    summary = summarise(examined, bundle.classes)
    return _row(bundle, label, summary, ms)


def _measured_quantized(
    bundle: Bundle, program: Path, label: str, dataset: Dataset, measured: Measured
) -> StageFigures:
    model = find_model(program)
    segmenter = ProgramSegmenter(model, bundle.input_contract, bundle.mask_stride_px)
    row = _measured(bundle, segmenter, label, dataset, None, measured)
    return replace(row, stage=QUANTIZED, file_bytes=model.params_path.stat().st_size)


def _row(bundle: Bundle, label: str, summary: Figures, ms: float | None) -> StageFigures:
    boxes, cells, figures = summary.boxes[ALL], summary.cells, bundle.manifest.figures
    labelled = [cells[known.name] for known in bundle.classes if cells[known.name].labelled]
    return StageFigures(
        stage=bundle.manifest.name,
        data_set=label,
        parameters=figures.parameters,
        macs_per_tile=figures.macs_per_tile,
        file_bytes=bundle.artefact_for("x86").size_bytes,
        tile_ms=None if ms is None else round(ms, 1),
        cell_iou=round(cells[ALL].iou, 4),
        class_iou_mean=round(sum(one.iou for one in labelled) / max(1, len(labelled)), 4),
        precision=round(boxes.precision, 4),
        recall=round(boxes.recall, 4),
        f_score=round(boxes.f_score, 4),
        average_precision=round(boxes.average_precision, 4),
        missed_parts=summary.verdicts.missed,
        false_alarm_parts=summary.verdicts.false_alarms,
    )


def _write(out: Path, rows: Sequence[StageFigures]) -> None:
    report = {"machine": cpu_name(), "stages": [asdict(row) for row in rows]}
    write_atomically(out / "stages.json", json.dumps(report, indent=1).encode() + b"\n")
    write_atomically(out / "stages.md", stages_text(rows).encode())


def stages_text(rows: Sequence[StageFigures]) -> str:
    """Markdown: one table for each data set."""
    head = ("stage", "parameters", "GMAC a tile", "file kB", "ms a tile", "IoU", "mean class IoU", "P", "R", "F", "AP")
    parts = []
    for label in dict.fromkeys(row.data_set for row in rows):
        body = [_cells(row) for row in rows if row.data_set == label]
        parts.append("\n".join([f"## Stages on {label}", *table(head, body)]))
    about = (
        f"Paddle Lite on one core of {cpu_name()}, all stages in one run; the quantised network is judged by Paddle's "
        "simulation. IoU: any defect against background, by cells; F and AP by the DeepPCB protocol."
    )
    return "\n\n".join([*parts, about])


def _cells(row: StageFigures) -> tuple[str, ...]:
    shares = (row.cell_iou, row.class_iou_mean, row.precision, row.recall, row.f_score, row.average_precision)
    return (
        row.stage,
        f"{row.parameters:,}",
        f"{row.macs_per_tile / 1e9:.2f}",
        f"{row.file_bytes / 1000:.0f}",
        "–" if row.tile_ms is None else f"{row.tile_ms:.1f}",
        *(f"{share:.4f}" for share in shares),
    )
