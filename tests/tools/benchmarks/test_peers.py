"""The comparison is of the same computation: networks handed over, masks compared, peers that fail are told."""

import json
import math
import sys
import time

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.pictures import grey_of
from edge_runtime.values import InputContract
from edge_runtime.vision.preprocess import TilePreprocessor
from edge_runtime.vision.registration import register_template
from edge_runtime.vision.tiling import core_box, plan_grid
from tools.architectures.choice import build_network
from tools.benchmarks.agreement import Agreement, Planes, compare, covered_twice, differing
from tools.benchmarks.contenders import PEERS, Contender, check_names, check_python
from tools.benchmarks.frames import made_frame
from tools.benchmarks.peer import __main__ as peer_main
from tools.benchmarks.peer.engines import fastest
from tools.benchmarks.peer.job import Job, answer
from tools.benchmarks.peer.sliding import starts
from tools.benchmarks.peer_frames import load_frame, read_frames, write_frame
from tools.benchmarks.peer_networks import job_of, logits_only, resized
from tools.benchmarks.peer_process import PeerProcess, Timed
from tools.benchmarks.peers import ratio
from tools.errors import DatasetError, ToolError
from tools.golden_pictures import MadePicture
from tools.graph import count_macs, initial_weights
from tools.onnx_file import onnx_bytes

CELLS = (12, 20)


def planes(seed=0, shape=CELLS):
    rng = np.random.default_rng(seed)
    return Planes(rng.integers(1, 7, shape, np.uint8), rng.integers(0, 256, shape, np.uint8))


def run(data, tile):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {"tile": tile})


@pytest.fixture
def network(make_unet):
    graph = make_unet()
    return graph, onnx_bytes(graph, initial_weights(graph, 3), 64)


def test_a_resized_network_is_the_one_that_is_written_at_that_size(network):
    graph, data = network
    written = onnx_bytes(graph, initial_weights(graph, 3), 128)
    assert resized(data, (128, 128), graph.output_stride_px) == written
    picture = np.random.default_rng(1).normal(size=(1, 1, 128, 192)).astype(np.float32)
    whole = run(resized(data, (128, 192), graph.output_stride_px), picture)
    assert [plane.shape for plane in whole] == [(1, 64, 96)] * 2


def test_logits_alone_give_the_networks_answer(network):
    graph, data = network
    tiles = np.random.default_rng(1).normal(size=(3, 1, 64, 64)).astype(np.float32)
    (logits,) = run(logits_only(data, graph.class_count, graph.output_stride_px), tiles)
    assert logits.shape == (3, graph.class_count, 32, 32)
    for number in range(3):
        class_ids, scores = run(data, tiles[number : number + 1])
        found = answer(logits[number : number + 1])
        assert (found[0] == class_ids[0]).mean() > 0.999
        assert np.abs(found[1].astype(int) - scores[0]).max() <= 1


def test_the_classic_unet_is_paddlesegs():
    """Paddle counts 13,404,354 parameters in it, statistics and the needless biases before batch norm among them."""
    graph = build_network({"kind": "classic"}, 3, 2, "test")
    trained, normalised = graph.trained_shapes(), sum(graph.channels()[n.name] for n in graph if n.op == "bn")
    assert sum(map(math.prod, trained.values())) + 3 * normalised == 13_404_354
    assert count_macs(graph, 512) == pytest.approx(124e9, rel=0.005)
    assert (graph.output_stride_px, graph.total_stride_px) == (1, 16)


def test_equal_planes_differ_nowhere():
    grid = plan_grid((24, 40), 16, 2, 4)
    found = compare(planes(), planes(), grid, 2)
    assert (found.core_differ, found.seam_differ) == (0, 0)
    assert found.core_cells + found.seam_cells == 12 * 20


def test_a_moved_score_or_another_suspect_class_differs():
    wanted = Planes(np.full(CELLS, 2, np.uint8), np.zeros(CELLS, np.uint8))
    wanted.scores[0, 3] = 200
    found = Planes(wanted.class_ids.copy(), wanted.scores.copy())
    found.scores[0, 0] = 2  # within the tolerance
    found.scores[0, 1] = 3
    found.class_ids[0, 2] = 5  # a class of clean background means nothing
    found.class_ids[0, 3] = 5
    assert np.argwhere(differing(found, wanted)).tolist() == [[0, 1], [0, 3]]


def test_planes_of_another_size_are_refused():
    with pytest.raises(ValueError, match="expected"):
        compare(planes(shape=(12, 19)), planes(), plan_grid((24, 40), 16, 2, 4), 2)


@given(height=st.integers(1, 90), width=st.integers(1, 90))
def test_a_cell_is_covered_twice_exactly_where_tiles_overlap(height, width):
    grid = plan_grid((height, width), 32, 4, 4)
    counts = np.zeros((height, width), int)
    for y, x in grid.origins_yx:
        counts[y : y + 32, x : x + 32] += 1
    assert (covered_twice(grid, 2) == (counts[::2, ::2] > 1)).all()
    for index in range(len(grid)):
        x0, y0, x1, y1 = core_box(grid, index)
        assert counts[y0:y1, x0:x1].min() >= 1


def test_agreements_add_up():
    assert Agreement(1, 2, 3, 4) + Agreement(10, 20, 30, 40) == Agreement(11, 22, 33, 44)


@given(length=st.integers(1, 3000), side=st.integers(1, 600), step=st.integers(1, 600))
def test_paddlesegs_windows_reach_both_ends(length, side, step):
    found = starts(length, side, step)
    assert found[0] == 0
    assert found[-1] == max(0, length - side)
    assert len(found) == (1 if length <= side else -(-(length - side) // step) + 1)


def test_a_ratio_is_of_the_rounds_that_both_ran():
    assert ratio({1: 30.0, 2: 10.0, 3: 80.0}, {1: 10.0, 2: 10.0, 3: 20.0}) == 3.0
    assert ratio({1: 30.0, 2: 99.0}, {1: 10.0}) == 3.0
    assert ratio({5: 1.0}, {1: 10.0}) is None


def test_the_fastest_opener_wins():
    waits = {"slow": 0.02, "quick": 0.0}
    name, thing = fastest({key: (lambda wait=wait: wait) for key, wait in waits.items()}, time.sleep)
    assert (name, thing) == ("quick", 0.0)


def test_both_sides_know_the_same_engines():
    assert {kind.engine for kind in PEERS.values()} == set(peer_main.PEERS)


@pytest.mark.parametrize(("first", "last", "counted"), [(0, 3, [1, 2, 3]), (1, 2, [1, 2])])
def test_the_first_round_of_all_only_warms_up(tmp_path, first, last, counted):
    ran = []

    def run(frame):
        ran.append(frame)
        return Timed(float(len(ran)), planes(), 10.0 * len(ran))

    one = Contender("one", run, lambda: "", lambda: "", first_round=first, last_round=last)
    for number in range(5):
        one.take(number, tmp_path / str(number % 2))
    assert list(one.ms) == counted
    assert len(ran) == last - first + 1
    assert set(one.planes) == set(ran)
    assert one.peak_mb == 10.0 * len(ran)


def test_a_contender_that_failed_is_not_asked_again(tmp_path):
    trouble = []

    def run(frame):
        trouble.append("broken")

    one = Contender("one", run, lambda: trouble[0] if trouble else "", lambda: "", last_round=3)
    for number in range(4):
        one.take(number, tmp_path)
    assert (trouble, one.ms) == (["broken"], {})


def job_folder(tmp_path, network):
    graph, data = network
    (tmp_path / "tile.onnx").write_bytes(data)
    (tmp_path / "whole.onnx").write_bytes(resized(data, (128, 128), graph.output_stride_px))
    tables = [(np.arange(256) / 255).tolist()]
    job = {
        "channels": "GRAY",
        "tables": tables,
        "tile_px": 64,
        "margin_px": 16,
        "mask_stride_px": graph.output_stride_px,
        "template": False,
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    frame = np.random.default_rng(1).integers(0, 256, (128, 128, 3), np.uint8)
    write_frame(tmp_path / "frame_0.npz", MadePicture(frame, None))
    return tmp_path / "frame_0.npz"


def test_a_peer_in_its_own_process_gives_masks_and_times(tmp_path, network):
    frame = job_folder(tmp_path, network)
    with PeerProcess(sys.executable, tmp_path, "onnxruntime", 1, tmp_path / "log") as peer:
        timed = peer.run(frame)
        assert (peer.failure, timed.planes.scores.shape) == ("", (64, 64))
        assert peer.versions == f"onnxruntime {onnxruntime.__version__}"
        assert timed.ms > 0
        assert timed.peak_mb > 10


@pytest.mark.parametrize("with_template", [False, True])
def test_a_peer_is_shown_what_the_device_sees(tmp_path, with_template):
    contract = InputContract("GRAY", (0.4,), (0.3,), 256, 8, 16, with_template)
    board = made_frame(256, with_template)
    template = np.roll(board.template, 3, axis=1) if with_template else None
    write_frame(tmp_path / "frame.npz", MadePicture(board.image, template))
    (tmp_path / "job.json").write_text(json.dumps(job_of(contract, 2)))
    job = Job(tmp_path, 1)
    found = job.input_of(np.load(tmp_path / "frame.npz")["shown"])
    registered = register_template(grey_of(board.image), template) if with_template else None
    assert found.shape == (1, job.channels, 256, 256)
    assert (found == TilePreprocessor(contract).tile(board.image, (0, 0), registered)).all()
    given = load_frame(tmp_path / "frame.npz")
    assert (given.image == board.image).all()
    assert given.template is None if template is None else (given.template == template).all()


def test_frames_with_templates_come_from_a_data_set(tmp_path):
    with pytest.raises(DatasetError, match="annotations"):
        read_frames(tmp_path, 1, with_template=True)


def test_a_peer_that_is_not_installed_says_so(tmp_path, network):
    frame = job_folder(tmp_path, network)
    with PeerProcess(sys.executable, tmp_path, "sahi", 1, tmp_path / "log") as peer:
        assert "No module named 'sahi'" in peer.failure
        assert peer.run(frame) is None


def test_a_peer_that_dies_is_a_failure_not_a_hang(tmp_path):
    with PeerProcess(sys.executable, tmp_path / "gone", "onnxruntime", 1, tmp_path / "log") as peer:
        assert "job.json" in peer.failure
    with PeerProcess("/bin/false", tmp_path, "onnxruntime", 1, tmp_path / "log") as peer:
        assert peer.failure == "ended with 1"


def test_a_peer_that_hangs_is_given_up(tmp_path):
    hanging = tmp_path / "hanging"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    with PeerProcess(hanging, tmp_path, "onnxruntime", 1, tmp_path / "log", limit_s=0.3) as peer:
        assert peer.failure == "no answer within 0.3 s"
        assert peer.run(tmp_path / "frame") is None


def test_wrong_wishes_are_told(tmp_path):
    with pytest.raises(ToolError, match="peer 'abacus': known are onnxruntime"):
        check_names(["sahi", "abacus"])
    with pytest.raises(ToolError, match="make bench-peers"):
        check_python(tmp_path / "python")
    with pytest.raises(ToolError, match="holds 0 pictures, 3 are wanted"):
        read_frames(tmp_path, 3, with_template=False)
