"""How long Paddle Lite takes on this machine's x86 cores for a graph, whatever its weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tools.children import last_words, run_child
from tools.convert import run_opt
from tools.errors import ToolError
from tools.graph import Graph, initial_weights
from tools.model_files import find_model
from tools.paddle_first import paddle
from tools.paddle_network import evaluating

RUNS = 9


def measure_ms(graph: Graph, side_px: int, runs: int = RUNS) -> float:
    """Median CPU milliseconds of one run on a (1, C, side_px, side_px) input, one thread, in a child process.

    Raises ToolError for a graph without weights, which opt does not read, and when opt or the predictor fails.
    """
    if not graph.weight_shapes():
        raise ToolError(f"{graph.output}: opt reads no program without weights; time it behind a layer that has some")
    dims = [1, graph.input_channels, side_px, side_px]
    with tempfile.TemporaryDirectory(prefix="timing-") as scratch:
        nb_path = run_opt(find_model(_exported(graph, dims, Path(scratch) / "model")), "x86", Path(scratch))
        done = run_child("timing_child.py", str(nb_path), ",".join(map(str, dims)), str(runs))
    if done.returncode:
        raise ToolError(f"the x86 predictor cannot run {graph.output} on {dims}: {last_words(done)}")
    return float(done.stdout.split()[-1])


def _exported(graph: Graph, dims: list[int], prefix: Path) -> Path:
    network = evaluating(graph, initial_weights(graph, seed=0))
    spec = paddle.static.InputSpec(dims, "float32", "tile")
    paddle.jit.save(network, str(prefix), input_spec=[spec], clip_extra=False)
    return prefix.with_suffix(".pdmodel")
