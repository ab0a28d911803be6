"""A scripted bundle, whose pictures say what happens to their inspection, and archives of such pictures."""

from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from edge_runtime.inference.bundle_writer import NewArtefact, write_bundle
from edge_runtime.inference.figures import Figures
from edge_runtime.inference.golden import GoldenTile
from edge_runtime.inference.manifest import ClassEntry, Draft, Input, Output
from edge_runtime.inference.scripted import CLASS_BASE_GREY
from edge_runtime.values import Mask
from tools.reinspection.executors import LocalExecutor
from tools.reinspection.inspector import check_worker, inspect_pictures
from tools.reinspection.run import Request, reinspect

SHIPPED_BUNDLE = Path(__file__).parents[3] / "opt_models" / "board-unet" / "3"
TILE_PX, CELL_PX = 64, 2
BACKGROUND_GREY = 10
CLASS_NAMES = ("open", "short", "spur", "copper", "pin-hole", "mousebite")


def write_scripted_bundle(folder: Path, golden_grey: int, template: bool = False) -> Path:
    classes = tuple(
        ClassEntry(id=i, name=name, color_bgr=(0, 40 * i, 255), threshold=128) for i, name in enumerate(CLASS_NAMES, 1)
    )
    draft = Draft(
        name="scripted",
        version=1,
        created=datetime(2026, 1, 31, 12, tzinfo=timezone.utc),
        input=Input(
            channels="GRAY", mean=(0.0,), std=(1.0,), tile_px=TILE_PX, stride_px=16, margin_px=4, template=template
        ),
        output=Output(kind="class_and_score", mask_stride_px=CELL_PX),
        classes=classes,
        figures=Figures(parameters=1, macs_per_tile=1),
        terms="made up by the tests",
    )
    class_ids = np.zeros((TILE_PX // CELL_PX,) * 2, np.uint8)
    picture = np.full((TILE_PX, TILE_PX, 3), golden_grey, np.uint8)
    golden = GoldenTile(picture, Mask(class_ids, class_ids, CELL_PX), picture[..., 0].copy() if template else None)
    write_bundle(folder, draft, [NewArtefact("model.x86.bin", b"not a network", "x86", "fp32", "none")], [golden])
    return folder


def paint(path: Path, *greys: int) -> Path:
    """A picture of 70 x 100 px with one square of 6 px for each grey, the n-th at (x 10 + 12 n, y 20)."""
    image = np.full((70, 100, 3), BACKGROUND_GREY, np.uint8)
    for n, grey in enumerate(greys):
        image[20:26, 10 + 12 * n : 16 + 12 * n] = grey
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def fill(folder: Path, count: int = 24) -> Path:
    """`count` pictures in two folders, with 0, 1 and 2 defects in turn, and one that is cut."""
    for index in range(count):
        greys = [CLASS_BASE_GREY + 1 + (index + n) % 6 for n in range(index % 3)]
        paint(folder / ("left", "right")[index % 2] / f"{index:03d}.png", *greys)
    (folder / "cut.png").write_bytes((folder / "left" / "000.png").read_bytes()[:60])
    return folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    return write_scripted_bundle(tmp_path_factory.mktemp("bundles") / "scripted" / "1", BACKGROUND_GREY)


@pytest.fixture(scope="session")
def deadly_bundle(tmp_path_factory) -> Path:
    """One whose golden tile kills the predictor."""
    return write_scripted_bundle(tmp_path_factory.mktemp("bundles") / "deadly" / "1", 241)


@pytest.fixture(scope="session")
def template_bundle(tmp_path_factory) -> Path:
    """One that takes a template."""
    return write_scripted_bundle(tmp_path_factory.mktemp("bundles") / "two-eyed" / "1", BACKGROUND_GREY, True)


@pytest.fixture(scope="session")
def shipped_bundle() -> Path:
    return SHIPPED_BUNDLE


@pytest.fixture
def archive(tmp_path) -> Path:
    return fill(tmp_path / "archive")


@pytest.fixture
def painted():
    """`painted(path, *greys)`, see `paint`."""
    return paint


class InThisProcess:
    """An executor without workers, for pictures that harm nobody."""

    def __init__(self, spec):
        self._spec = spec

    def check(self):
        check_worker(self._spec)

    def run(self, tasks):
        return ((task, inspect_pictures(self._spec, task.paths)) for task in tasks)

    run_suspects = run

    def close(self):
        pass


@pytest.fixture
def two_processes():
    """What opens the executor of this machine's cores."""
    return lambda spec: LocalExecutor(spec, 2)


@pytest.fixture
def run(bundle, archive, tmp_path):
    """`run(**fields of Request, watcher=…, open_executor=…)`: a whole job, by default in `out` and in this process."""

    def go(watcher=None, open_executor=InThisProcess, **fields):
        defaults = {"bundle_folder": bundle, "archive_folder": archive, "out": tmp_path / "out"}
        settings = {"chunk_pictures": 4, "backend": "scripted", "overlays": 3}
        return reinspect(Request(**{**defaults, **settings, **fields}), open_executor, watcher)

    return go


@pytest.fixture
def tables():
    """`tables(folder)`: the rows of both tables, without the times."""

    def read(folder: Path):
        pictures = pq.read_table(folder / "pictures.parquet").drop_columns(["ms"]).to_pylist()
        return pictures, pq.read_table(folder / "defects.parquet").to_pylist()

    return read
