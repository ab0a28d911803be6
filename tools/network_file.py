"""A network on disk: `network.npz` holds the graph as JSON and every weight by name; nothing in it is executed."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.files import write_atomically
from tools.arrays_file import DAMAGED, read_arrays
from tools.errors import ToolError
from tools.graph import Graph, Node, Weights, check_weights

GRAPH_KEY = "graph.json"
FILE_NAME = "network.npz"


def graph_to_json(graph: Graph) -> dict[str, Any]:
    return {
        "input_channels": graph.input_channels,
        "output": graph.output,
        "nodes": [{**asdict(node), "inputs": list(node.inputs)} for node in graph],
    }


def graph_from_json(raw: dict[str, Any]) -> Graph:
    """Raises ValueError, TypeError or KeyError for anything but a valid graph."""
    nodes = tuple(Node(**{**node, "inputs": tuple(node["inputs"])}) for node in raw["nodes"])
    return Graph(int(raw["input_channels"]), nodes, str(raw["output"]))


def save_network(path: Path, graph: Graph, weights: Weights) -> None:
    check_weights(graph, weights)
    text = json.dumps(graph_to_json(graph)).encode()
    stream = io.BytesIO()
    np.savez(stream, **{GRAPH_KEY: np.frombuffer(text, np.uint8)}, **weights)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, stream.getvalue())


def load_network(path: Path) -> tuple[Graph, Weights]:
    """A network file, or the one in a run's folder. Raises ToolError when there is none or it is damaged."""
    path = path / FILE_NAME if path.is_dir() else path
    try:
        arrays = read_arrays(path)
        graph = graph_from_json(json.loads(arrays.pop(GRAPH_KEY).tobytes()))
        check_weights(graph, arrays)
    except OSError as exc:
        raise ToolError(f"{path}: {exc.strerror}; give a {FILE_NAME} or the folder of a finished run") from exc
    except DAMAGED as exc:
        raise ToolError(f"{path}: not a whole network file ({exc}); train or prune it again") from exc
    return graph, arrays
