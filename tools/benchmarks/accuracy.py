"""`bench accuracy`: whether what is compared in time is equally right, on labelled pictures.

Every contender's mask goes through the same defect finding and the same scoring. The classic UNet's thresholds are
chosen as a bundle's are: on the pictures that its training held out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edge_runtime.inference.bundle import Bundle, load_bundle
from edge_runtime.values import DefectClass, Mask
from tools.benchmarks.contenders import CLASSIC, PEERS, Contender, check_python, ours, peer
from tools.benchmarks.daemon import scratch
from tools.benchmarks.peer_frames import labelled_frame, write_frame
from tools.benchmarks.peer_networks import classic_task, common_size, prepare_exchange
from tools.benchmarks.report import Clerk, Report, Row, load
from tools.dataset import Dataset
from tools.errors import ToolError
from tools.evaluate import ALL, Segmented, choose_thresholds, score_candidates, score_masks, scores_by_class
from tools.evaluation.data import labelled_for, with_class_ids
from tools.pack import held_out
from tools.progress import progress_bar

ENGINE = "classic-openvino"


@dataclass(frozen=True)
class AccuracyWish:
    """`classic`: a run of classic.toml, or None. `engine`: the peer that runs it. `count`: only the first pictures."""

    bundle: Path
    data: Path
    backends: Sequence[str]
    classic: Path | None
    engine: str
    python: Path
    cores: int
    count: int | None = None


def bench_accuracy(wish: AccuracyWish) -> Report:
    """One row a contender. Raises BundleError, DatasetError, InferenceError, CameraError, ToolError."""
    clerk, bundle = Clerk("accuracy"), load_bundle(wish.bundle)
    dataset = _first(labelled_for(wish.data, bundle), wish.count)
    rows: list[Row] = []
    with_template = bundle.input_contract.template
    sizes_hw = {picture.size_hw for picture in dataset.pictures}
    with scratch("accuracy") as folder:
        for backend in wish.backends:
            with ours(bundle, backend, wish.cores, folder, sizes_hw) as contender:
                segmented = list(_segmented(contender, folder, dataset, bundle.mask_stride_px, with_template))
                rows.append(_row(contender.name, contender.note(), segmented, bundle.classes))
        if wish.classic is not None:
            rows.append(_classic_row(wish, wish.classic, bundle, dataset, folder))
    data = "/".join(wish.data.resolve().parts[-2:])
    return clerk.report({"model": bundle.model_id, "data": data, "pictures": len(dataset.pictures)}, rows)


def read_accuracy(file: Path) -> dict[str, float]:
    """F by contender. Raises ToolError for another benchmark's result."""
    report = load(file)
    if report.benchmark != "accuracy":
        raise ToolError(f"{file}: the result of bench {report.benchmark}; give one of bench accuracy")
    return {str(row["name"]): float(row["f_score"]) for row in report.rows}


def _first(dataset: Dataset, count: int | None) -> Dataset:
    return replace(dataset, pictures=dataset.pictures[:count])


def _classic_row(wish: AccuracyWish, run: Path, bundle: Bundle, dataset: Dataset, folder: Path) -> Row:
    check_python(wish.python)
    task = classic_task(bundle, run, bundle.input_contract.tile_px)
    held = [with_class_ids(each, bundle.classes) for each in held_out(run, None, 0)]
    sizes_hw = {picture.size_hw for each in (*held, dataset) for picture in each.pictures}
    exchange = prepare_exchange(task, common_size(task, sizes_hw), folder / CLASSIC)
    with peer(wish.engine, wish.python, exchange, wish.cores) as contender:
        seen = partial(
            _segmented, contender, folder, mask_stride_px=task.mask_stride_px, with_template=task.contract.template
        )
        shown = [one for each in held for one in seen(each)]
        classes = choose_thresholds(lambda tried: score_masks(shown, tried), bundle.classes)
        segmented = [*seen(dataset)]
        chosen = ", ".join(str(known.threshold) for known in classes)
        note = f"run by {contender.name}: {contender.note()}; thresholds {chosen}"
    return _row(PEERS[CLASSIC].label, note, segmented, classes)


def _segmented(
    contender: Contender, folder: Path, dataset: Dataset, mask_stride_px: int, with_template: bool
) -> Iterator[Segmented]:
    """Each picture's mask. Raises ToolError where the contender fails, CameraError."""
    file = folder / "picture.npz"
    with progress_bar(contender.name) as advance:
        for done, picture in enumerate(dataset.pictures, 1):
            write_frame(file, labelled_frame(picture, with_template))
            timed = None if contender.failure() else contender.run(file)
            if timed is None:
                raise ToolError(f"{contender.name}: {picture.image_path}: {contender.failure()}")
            mask = Mask(timed.planes.class_ids, timed.planes.scores, mask_stride_px)
            yield Segmented(picture, dataset.label_margin_px, mask)
            advance(done, len(dataset.pictures))


def _row(name: str, note: str, segmented: Sequence[Segmented], classes: Sequence[DefectClass]) -> Row:
    scores = scores_by_class(score_masks(segmented, classes), classes, score_candidates(segmented, classes))
    whole = scores[ALL]
    return {
        "name": name,
        "f_score": round(whole.f_score, 4),
        "precision": round(whole.precision, 4),
        "recall": round(whole.recall, 4),
        "average_precision": round(whole.average_precision, 4),
        "f_by_class": {known.name: round(scores[known.name].f_score, 3) for known in classes},
        "note": note,
    }
