"""Who is compared: this runtime with one of its backends, and each peer, asked for one frame at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import psutil

from edge_runtime.app import build_pool
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.fastest_engine import Use, told_engine
from edge_runtime.inference.bundle import Bundle
from edge_runtime.runtime.pool import InspectionPool
from tools.benchmarks.agreement import Planes
from tools.benchmarks.frames import workers_settings
from tools.benchmarks.peer_frames import load_frame
from tools.benchmarks.peer_process import PeerProcess, Timed, peak_mb
from tools.errors import ToolError

PAUSE_S = 0.3
"""Threads of the one before may still spin: Intel's OpenMP lets them do so for 0.2 s."""


@dataclass(frozen=True)
class Peer:
    """`label`: in tables. `engine`: of `peer.__main__`. `classic`: on the classic UNet, not on the bundle's network.

    `windows`: it cuts the frame, so the side of its windows matters.
    """

    label: str
    engine: str
    classic: bool = False
    windows: bool = True


REFERENCE, CLASSIC = "onnxruntime", "classic"
PEERS: Mapping[str, Peer] = MappingProxyType(
    {
        REFERENCE: Peer("ONNX Runtime, whole", "onnxruntime", windows=False),
        "openvino-f32": Peer("OpenVINO f32, whole", "openvino-f32", windows=False),
        "openvino-bf16": Peer("OpenVINO bf16, whole", "openvino-bf16", windows=False),
        "openvino-tiles-f32": Peer("OpenVINO f32, tiles*", "openvino-tiles-f32"),
        "openvino-tiles-bf16": Peer("OpenVINO bf16, tiles*", "openvino-tiles-bf16"),
        "sahi": Peer("SAHI slices", "sahi"),
        "monai": Peer("MONAI window", "monai"),
        "paddleseg": Peer("PaddleSeg slide", "paddleseg"),
        "paddleseg-bf16": Peer("PaddleSeg slide, bf16", "paddleseg-bf16"),
        "paddleseg-cells": Peer("PaddleSeg on cells*", "paddleseg-cells"),
        CLASSIC: Peer("PaddleSeg UNet 64-512", "paddleseg", classic=True),
        "classic-bf16": Peer("PaddleSeg UNet 64-512, bf16", "paddleseg-bf16", classic=True),
        "classic-openvino": Peer("UNet 64-512, OpenVINO bf16, whole", "openvino-bf16", classic=True, windows=False),
    }
)


@dataclass
class Contender:
    """`run`: one frame's file; None, and `failure` tells why, where it cannot be done.

    `first_round`: the first that it runs in; the first round of all is never counted. `window_px`: side of its windows,
    0 where it has none or the bundle's usual ones.
    """

    name: str
    run: Callable[[Path], Timed | None]
    failure: Callable[[], str]
    note: Callable[[], str]
    same_network: bool = True
    first_round: int = 0
    last_round: int = 0
    window_px: int = 0
    ms: dict[int, float] = field(default_factory=dict)
    planes: dict[Path, Planes] = field(default_factory=dict)
    peak_mb: float = 0.0

    def take(self, round_number: int, frame: Path) -> None:
        if self.failure() or not self.first_round <= round_number <= self.last_round:
            return
        time.sleep(PAUSE_S)
        timed = self.run(frame)
        if timed is None:
            return
        self.peak_mb = max(self.peak_mb, timed.peak_mb)
        self.planes.setdefault(frame, timed.planes)
        if round_number > 0:
            self.ms[round_number] = timed.ms


def check_names(peers: Iterable[str]) -> None:
    """Raises ToolError for a peer there is none of."""
    unknown = [name for name in peers if name not in PEERS]
    if unknown:
        raise ToolError(f"peer {unknown[0]!r}: known are {', '.join(PEERS)}")


def check_python(python: Path) -> None:
    if not python.exists():
        raise ToolError(f"{python}: no such interpreter; make the peers' environment with `make bench-peers`")


def ours_name(backend: str) -> str:
    return f"ours, {backend}"


@contextmanager
def ours(
    bundle: Bundle, backend: str, cores: int, data_dir: Path, sizes_hw: set[tuple[int, int]]
) -> Iterator[Contender]:
    """This runtime with as many workers as processors; its time is to the verdict, defects found and judged.

    `sizes_hw`: those of the frames. What `auto` measures is kept in `data_dir`. Raises ToolError for a backend there is
    none of.
    """
    data_dir = data_dir / backend.replace(":", "-")
    image_hw = next(iter(sizes_hw)) if len(sizes_hw) == 1 else None
    settings = workers_settings(bundle.folder, cores, backend, image_hw, data_dir)
    use = Use.of(settings, settings.inspection.bundle)
    trouble: list[str] = []
    tiles: list[int] = []
    with ExitStack() as stack:
        before = {child.pid for child in psutil.Process().children()}
        pool = None
        try:
            pool = stack.enter_context(build_pool(settings, bundle.mask_stride_px))
        except EdgeRuntimeError as exc:
            trouble.append(str(exc).splitlines()[0][:300])
        workers = [child.pid for child in psutil.Process().children() if child.pid not in before]

        def run(frame: Path) -> Timed | None:
            assert pool is not None
            return _inspected(pool, frame, workers, trouble, tiles)

        yield Contender(
            ours_name(backend),
            run,
            lambda: trouble[0] if trouble else "",
            lambda: f"{max(tiles, default=0)} tiles, {told_engine(settings.inspection, bundle, use, data_dir)}",
        )


def _inspected(
    pool: InspectionPool, frame: Path, workers: list[int], trouble: list[str], tiles: list[int]
) -> Timed | None:
    picture = load_frame(frame)
    result = pool.inspect(picture.image, picture.template)
    if result.mask is None:
        trouble.append(", ".join(result.verdict.reasons))
        return None
    tiles.append(result.tiles)
    planes = Planes(result.mask.class_ids, result.mask.scores)
    return Timed(result.ms["frame"], planes, sum(peak_mb(pid) for pid in workers))


@contextmanager
def peer(name: str, python: Path, exchange: Path, cores: int, suffix: str = "") -> Iterator[Contender]:
    """A peer as a process of its own on one network's folder; `suffix` tells its row from another's."""
    kind = PEERS[name]
    process = PeerProcess(python, exchange, kind.engine, cores, exchange / f"{name}.log")
    with process:
        yield Contender(
            kind.label + suffix,
            process.run,
            lambda: process.failure,
            lambda: "; ".join(filter(None, (process.versions, process.setting))),
            same_network=not kind.classic,
        )
