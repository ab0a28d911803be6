"""A scripted bundle, and one with a real tiny network made by Paddle and opt in a process of its own."""

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.inference.bundle import load_bundle
from edge_runtime.inference.bundle_writer import NewArtefact, write_bundle
from edge_runtime.inference.figures import Figures
from edge_runtime.inference.golden import GoldenTile
from edge_runtime.inference.manifest import ClassEntry, Draft, Input, Output
from edge_runtime.values import Mask

TILE_PX, CELL_PX = 64, 2
OPT_VERSION = "v2.13-rc"


def draft_of(kind: str, class_count: int, template: bool = False) -> Draft:
    classes = tuple(
        ClassEntry(id=i, name=f"kind {i}", color_bgr=(0, 40 * i, 255), threshold=128) for i in range(1, class_count + 1)
    )
    return Draft(
        name="tiny",
        version=1,
        created=datetime(2026, 1, 31, 12, tzinfo=timezone.utc),
        input=Input(
            channels="GRAY", mean=(0.0,), std=(1.0,), tile_px=TILE_PX, stride_px=16, margin_px=4, template=template
        ),
        output=Output(kind=kind, mask_stride_px=CELL_PX),
        classes=classes,
        figures=Figures(parameters=107, macs_per_tile=98_304),
        terms="made up by the tests",
    )


def picture_of(greys: list[int]) -> np.ndarray:
    """Vertical stripes of equal width."""
    row = np.repeat(np.array(greys, np.uint8), TILE_PX // len(greys))
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (TILE_PX, TILE_PX, 3)))


def tiny_answer(picture: np.ndarray, template: np.ndarray | None = None) -> Mask:
    """What tiny_network.py computes, as a formula."""
    v = picture[::CELL_PX, ::CELL_PX, 0] / 255.0
    v = v if template is None else np.maximum(v - template[::CELL_PX, ::CELL_PX] / 255.0, 0.0)
    logits = np.stack([np.full_like(v, 4.0), 8.0 * v, 24.0 * v - 12.0])
    background = 1.0 / np.exp(logits - 4.0).sum(axis=0)
    class_ids = np.where(logits[2] > logits[1], 2, 1).astype(np.uint8)
    return Mask(class_ids, ((1.0 - background) * 255.0 + 0.5).astype(np.uint8), CELL_PX)


@pytest.fixture
def draft():
    """`draft(kind, class_count, template)`: a valid Draft."""
    return draft_of


@pytest.fixture
def stripes():
    """`stripes(greys)`: a tile's picture of vertical stripes."""
    return picture_of


@pytest.fixture
def expected():
    """`expected(picture, template)`: the mask that the tiny network must give."""
    return tiny_answer


@pytest.fixture
def scripted_golden() -> GoldenTile:
    """The left half class 3, the rest background, as the scripted segmenter answers."""
    class_ids = np.zeros((TILE_PX // CELL_PX,) * 2, np.uint8)
    class_ids[:, : TILE_PX // CELL_PX // 2] = 3
    scores = np.where(class_ids > 0, 255, 0).astype(np.uint8)
    return GoldenTile(picture_of([103, 10]), Mask(class_ids, scores, CELL_PX))


@pytest.fixture
def scripted_bundle(tmp_path, scripted_golden):
    """A bundle whose golden tile the scripted segmenter passes; its artefact is no network."""
    artefact = NewArtefact("model.x86.bin", b"not a network", "x86", "fp32", "none")
    return write_bundle(tmp_path / "tiny" / "1", draft_of("class_and_score", 6), [artefact], [scripted_golden])


@pytest.fixture
def template_golden() -> GoldenTile:
    """Class 3 everywhere, but the template has the right half of it, too."""
    class_ids = np.zeros((TILE_PX // CELL_PX,) * 2, np.uint8)
    class_ids[:, : TILE_PX // CELL_PX // 2] = 3
    scores = np.where(class_ids > 0, 255, 0).astype(np.uint8)
    return GoldenTile(picture_of([103, 103]), Mask(class_ids, scores, CELL_PX), picture_of([10, 103])[..., 0].copy())


@pytest.fixture
def template_bundle(tmp_path, template_golden):
    """As `scripted_bundle`, for a model that takes a template."""
    artefact = NewArtefact("model.x86.bin", b"not a network", "x86", "fp32", "none")
    draft = draft_of("class_and_score", 6, template=True)
    return write_bundle(tmp_path / "template" / "1", draft, [artefact], [template_golden])


@pytest.fixture(scope="session")
def networks(tmp_path_factory) -> Path:
    """A folder with the files that tiny_network.py makes."""
    for name in ("paddle", "paddlelite"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name} to make a real network")
    folder = tmp_path_factory.mktemp("networks")
    script = Path(__file__).with_name("tiny_network.py")
    command = [sys.executable, str(script), str(folder), str(TILE_PX)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="session")
def tiny_bundle_folder(networks, tmp_path_factory) -> Path:
    """The bundle of the two-output network for x86 and arm; do not change it."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny" / "1"
    artefacts = [
        NewArtefact(f"model.{target}.nb", (networks / f"two.{target}.nb").read_bytes(), target, "fp32", OPT_VERSION)
        for target in ("x86", "arm")
    ]
    picture = picture_of([60, 160, 220, 10])
    write_bundle(folder, draft_of("class_and_score", 2), artefacts, [GoldenTile(picture, tiny_answer(picture))])
    return folder


@pytest.fixture
def tiny_bundle(tiny_bundle_folder, tmp_path):
    """A copy of the real bundle that a test may damage."""
    return load_bundle(shutil.copytree(tiny_bundle_folder, tmp_path / "copy"))


@pytest.fixture
def comparing_bundle(networks, tmp_path):
    """A bundle of the network that takes a template."""
    artefact = NewArtefact("model.x86.nb", (networks / "template.x86.nb").read_bytes(), "x86", "fp32", OPT_VERSION)
    picture, template = picture_of([60, 160, 220, 10]), picture_of([10, 10, 210, 200])[..., 0].copy()
    golden = GoldenTile(picture, tiny_answer(picture, template), template)
    return write_bundle(tmp_path / "comparing", draft_of("class_and_score", 2, template=True), [artefact], [golden])


def tiny_graph(template: bool):
    """The network of tiny_network.py as the tools hold it: graph and weights."""
    pytest.importorskip("onnx", reason="needs onnx to make a real network")
    from tools.graph import Graph, Node

    taps = (1.0, -1.0) if template else (1.0,)
    nodes = (
        Node("stem", "conv", ("input",), channels=8, kernel=3, stride=2, bias=True),
        Node("relu", "relu", ("stem",)),
        Node("head", "conv", ("relu",), channels=3, bias=True),
    )
    stem, head = np.zeros((8, len(taps), 3, 3), np.float32), np.zeros((3, 8, 1, 1), np.float32)
    stem[:, :, 1, 1] = taps
    head[:, 0, 0, 0] = (0.0, 8.0, 24.0)
    biases = {"stem.bias": np.zeros(8, np.float32), "head.bias": np.array([4.0, 0.0, -12.0], np.float32)}
    return Graph(len(taps), nodes, "head"), {"stem.weight": stem, "head.weight": head, **biases}


def tiny_onnx(template: bool) -> bytes:
    graph, weights = tiny_graph(template)
    from tools.onnx_file import onnx_bytes

    return onnx_bytes(graph, weights, TILE_PX)


@pytest.fixture
def onnx_bundle(tmp_path):
    """A bundle of the tiny network as ONNX, which a test may damage."""
    artefact = NewArtefact("model.onnx", tiny_onnx(template=False), "onnx", "fp32", opset=17)
    picture = picture_of([60, 160, 220, 10])
    golden = GoldenTile(picture, tiny_answer(picture))
    return write_bundle(tmp_path / "onnx", draft_of("class_and_score", 2), [artefact], [golden])


@pytest.fixture
def comparing_onnx_bundle(tmp_path):
    """The same for the network that takes a template."""
    artefact = NewArtefact("model.onnx", tiny_onnx(template=True), "onnx", "fp32", opset=17)
    picture, template = picture_of([60, 160, 220, 10]), picture_of([10, 10, 210, 200])[..., 0].copy()
    golden = GoldenTile(picture, tiny_answer(picture, template), template)
    draft = draft_of("class_and_score", 2, template=True)
    return write_bundle(tmp_path / "comparing-onnx", draft, [artefact], [golden])


@pytest.fixture
def rknnlite(monkeypatch):
    """The stand-in for Rockchip's runtime, importable here and in child processes."""
    pytest.importorskip("onnxruntime")
    folder = str(Path(__file__).with_name("stand_in"))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")])))
    yield importlib.import_module("rknnlite.api")
    for name in ("rknnlite.api", "rknnlite"):
        sys.modules.pop(name, None)


@pytest.fixture
def rknn_bundle(rknnlite, tmp_path):
    """A bundle of the tiny network for the NPU, for the stand-in alone; a test may damage it."""
    return _rknn_bundle(rknnlite, tmp_path / "rknn" / "1", template=False)


@pytest.fixture
def comparing_rknn_bundle(rknnlite, tmp_path):
    """The same for the network that takes a template."""
    return _rknn_bundle(rknnlite, tmp_path / "comparing-rknn" / "1", template=True)


def _rknn_bundle(rknnlite, folder, template):
    graph, weights = tiny_graph(template)
    from tools.rknn.margins import margins_onnx

    channels, cells = graph.input_channels, TILE_PX // CELL_PX
    shapes = (1, channels, TILE_PX, TILE_PX), (1, 2, cells, cells)
    data = rknnlite.network_file(margins_onnx(graph, weights, TILE_PX), *shapes, [0.0] * channels, [255.0] * channels)
    artefact = NewArtefact("model.rknn", data, "rknn", "fp16", rknn_version="2.5.0", allowed_shares={"f16": 0.0005})
    picture, grey = picture_of([60, 160, 220, 10]), picture_of([10, 10, 210, 200])[..., 0].copy() if template else None
    golden = GoldenTile(picture, tiny_answer(picture, grey), grey)
    return write_bundle(folder, draft_of("class_and_score", 2, template=template), [artefact], [golden])


@pytest.fixture
def one_output_bundle(networks, tmp_path):
    """`one_output_bundle(kind, class_count, golden mask)`: the network with one output, as scores or class ids."""

    def make(kind, class_count, mask):
        data = (networks / "one.x86.nb").read_bytes()
        tile = GoldenTile(picture_of([60, 160, 220, 10]), mask)
        artefact = NewArtefact("model.x86.nb", data, "x86", "fp32", OPT_VERSION)
        return write_bundle(tmp_path / kind, draft_of(kind, class_count), [artefact], [tile])

    return make
