"""Arguments: the exchange folder, the peer's name, threads.

Answers one line of JSON on standard output when ready, then one for each line it reads: `{"frame": FILE, "out": FILE}`.
Only what the peer needs is imported. Timed is what a user of the peer would do: from the frame in memory (uint8 H, W,
3 or, its template behind, 4) to the class ids and scores of all its cells, in one process that may use `threads`
processors.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tools.benchmarks.peer.job import Job
from tools.benchmarks.peer.sliding import (
    Monai,
    OpenVinoTiles,
    OpenVinoTilesBf16,
    PaddleSeg,
    PaddleSegBf16,
    PaddleSegOnCells,
    Sahi,
)
from tools.benchmarks.peer.whole import Peer, WholeOnnx, WholeOpenVino, WholeOpenVinoBf16

PEERS: dict[str, type[Peer]] = {
    "onnxruntime": WholeOnnx,
    "openvino-f32": WholeOpenVino,
    "openvino-bf16": WholeOpenVinoBf16,
    "openvino-tiles-f32": OpenVinoTiles,
    "openvino-tiles-bf16": OpenVinoTilesBf16,
    "paddleseg": PaddleSeg,
    "paddleseg-bf16": PaddleSegBf16,
    "paddleseg-cells": PaddleSegOnCells,
    "monai": Monai,
    "sahi": Sahi,
}


def main() -> None:
    folder, name, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    voice = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    try:
        peer = PEERS[name](Job(folder, threads))
        versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in peer.packages)
    except Exception as exc:  # noqa: BLE001 - whatever a peer raises is told to the one who asks
        say(voice, failure(exc))
        return
    say(voice, {"versions": versions, "setting": peer.setting})
    for line in sys.stdin:
        say(voice, serve(peer, json.loads(line)))


def serve(peer: Peer, request: dict[str, str]) -> dict[str, Any]:
    frame = np.load(request["frame"])["shown"]
    try:
        began = time.perf_counter()
        class_ids, scores = peer.planes(frame)
        took_ms = (time.perf_counter() - began) * 1000
    except Exception as exc:  # noqa: BLE001
        return failure(exc)
    np.savez(request["out"], class_ids=np.array(class_ids), scores=np.array(scores))
    return {"ms": took_ms}


def failure(exc: Exception) -> dict[str, Any]:
    return {"failed": " ".join(f"{type(exc).__name__}: {exc}".split())}


def say(voice: Any, message: dict[str, Any]) -> None:
    voice.write(json.dumps(message) + "\n")
    voice.flush()


if __name__ == "__main__":
    main()
