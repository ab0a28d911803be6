"""`bench peers`: the same frames and the same network through this runtime and through what else there is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from edge_runtime.app import build_pool
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.inference.bundle import Bundle, load_bundle
from edge_runtime.pictures import PICTURE_SUFFIXES, read_picture
from edge_runtime.runtime.pool import InspectionPool
from edge_runtime.vision.boards import CAMERA, paint_board
from edge_runtime.vision.tiling import plan_grid
from tools.benchmarks.agreement import Agreement, Planes, compare
from tools.benchmarks.daemon import scratch
from tools.benchmarks.frames import PAINTED_PX, workers_settings
from tools.benchmarks.peer_networks import Exchange, prepare_exchange
from tools.benchmarks.peer_process import PeerProcess, Timed, peak_mb
from tools.benchmarks.report import Clerk, Report, Row
from tools.errors import ToolError
from tools.progress import progress_bar

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

REFERENCE = "onnxruntime"
CLASSIC = "paddleseg-classic"
PEERS = {
    "onnxruntime": "ONNX Runtime, whole",
    "openvino-f32": "OpenVINO f32, whole",
    "openvino-bf16": "OpenVINO bf16, whole",
    "sahi": "SAHI slices",
    "monai": "MONAI window",
    "paddleseg": "PaddleSeg slide",
    "paddleseg-cells": "PaddleSeg on cells*",
    CLASSIC: "PaddleSeg UNet 64-512",
}
PAUSE_S = 0.05
WARM_UP_ROUNDS = 1


@dataclass(frozen=True)
class PeersWish:
    """`frames`: a folder, or None for made-up boards. `python`: the interpreter of the peers' environment.

    `backends`: of this runtime; the first is what ratios are against. `classic_rounds` 0: without the large UNet.
    """

    bundle: Path
    frames: Path | None
    python: Path
    frame_count: int
    rounds: int
    classic_rounds: int
    cores: Sequence[int]
    backends: Sequence[str]
    peers: Sequence[str] = tuple(PEERS)


@dataclass
class Contender:
    """One row in the making: how a frame is run, and what came of it."""

    name: str
    run: Callable[[int], Timed | None]
    note: Callable[[], str]
    failure: Callable[[], str]
    rounds: int
    same_network: bool = True
    ms: dict[int, float] = field(default_factory=dict)
    planes: dict[int, Planes] = field(default_factory=dict)
    peak_mb: float = 0.0

    def take(self, round_number: int, frame: int) -> None:
        """Run the frame; the first round only warms up."""
        if self.failure() or round_number > self.rounds:
            return
        time.sleep(PAUSE_S)  # threads of the one before may still spin
        timed = self.run(frame)
        if timed is None:
            return
        self.peak_mb = max(self.peak_mb, timed.peak_mb)
        self.planes.setdefault(frame, timed.planes)
        if round_number >= WARM_UP_ROUNDS:
            self.ms[round_number] = timed.ms


def bench_peers(wish: PeersWish) -> Report:
    """One row for each contender and number of processors, all of a number interleaved frame by frame.

    Raises BundleError, InferenceError, CameraError, ToolError. A peer that cannot be run is a row that says why.
    """
    clerk, bundle = Clerk("peers"), load_bundle(wish.bundle)
    check_python(wish.python)
    frames = painted_frames(wish.frame_count) if wish.frames is None else read_frames(wish.frames, wish.frame_count)
    rows: list[Row] = []
    with scratch("peers") as folder, progress_bar("rounds") as advance:
        exchange = prepare_exchange(bundle, frames, folder, CLASSIC in wish.peers and wish.classic_rounds > 0)
        done, total = 0, len(wish.cores) * (WARM_UP_ROUNDS + wish.rounds)

        def step() -> None:
            nonlocal done
            done += 1
            advance(done, total)

        for cores in wish.cores:
            rows += _measure(wish, bundle, frames, exchange, cores, step)
    conditions = {
        "model": bundle.model_id,
        "GMAC a tile": exchange.gmacs,
        "GMAC a tile of UNet 64-512": exchange.classic_gmacs,
        "frames": f"{len(frames)} {source(wish.frames)}",
        "size": " x ".join(map(str, exchange.frame_hw[::-1])),
        "rounds": wish.rounds,
        "ratios against": ours_name(wish.backends[0]),
    }
    return clerk.report(conditions, rows)


def check_names(peers: Iterable[str]) -> None:
    """Raises ToolError for a peer there is none of."""
    unknown = [name for name in peers if name not in PEERS]
    if unknown:
        raise ToolError(f"peer {unknown[0]!r}: known are {', '.join(PEERS)}")


def check_python(python: Path) -> None:
    if not python.exists():
        raise ToolError(f"{python}: no such interpreter; make the peers' environment with `make bench-peers`")


def read_frames(folder: Path, count: int) -> list[ImageU8]:
    """The first pictures of a folder, by name. Raises ToolError for fewer, CameraError."""
    found = sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES)
    if len(found) < count:
        raise ToolError(f"{folder}: holds {len(found)} pictures, {count} are wanted; give another folder or --count")
    return [read_picture(file) for file in found[:count]]


def painted_frames(count: int) -> list[ImageU8]:
    return [paint_board(1, index, (PAINTED_PX, PAINTED_PX), CAMERA).image for index in range(count)]


def source(folder: Path | None) -> str:
    """Where frames come from, without the way there."""
    return "made-up boards" if folder is None else f"of {'/'.join(folder.resolve().parts[-2:])}"


def ours_name(backend: str) -> str:
    return f"ours, {backend}"


def _measure(
    wish: PeersWish,
    bundle: Bundle,
    frames: Sequence[ImageU8],
    exchange: Exchange,
    cores: int,
    step: Callable[[], None],
) -> list[Row]:
    with ExitStack() as stack:
        contenders = [stack.enter_context(_own(wish, bundle, frames, backend, cores)) for backend in wish.backends]
        for name in wish.peers:
            rounds = wish.classic_rounds if name == CLASSIC else wish.rounds
            if rounds > 0:
                contenders.append(stack.enter_context(_peer(wish, exchange, name, cores, rounds)))
        for round_number in range(WARM_UP_ROUNDS + wish.rounds):
            for contender in contenders:
                contender.take(round_number, round_number % len(frames))
            step()
    return [_row(each, contenders, bundle, exchange, cores) for each in contenders]


@contextmanager
def _own(wish: PeersWish, bundle: Bundle, frames: Sequence[ImageU8], backend: str, cores: int) -> Iterator[Contender]:
    """This runtime with as many workers as processors; its time is to the verdict, defects found and judged."""
    trouble: list[str] = []
    with ExitStack() as stack:
        before = {child.pid for child in psutil.Process().children()}
        try:
            pool = stack.enter_context(build_pool(workers_settings(wish.bundle, cores, backend), bundle.mask_stride_px))
        except EdgeRuntimeError as exc:
            trouble.append(str(exc).splitlines()[0][:300])
            pool = None
        workers = [child.pid for child in psutil.Process().children() if child.pid not in before]

        def run(frame: int) -> Timed | None:
            assert pool is not None
            return _inspect(pool, frames[frame], workers, trouble)

        name = ours_name(backend)
        yield Contender(name, run, lambda: "", lambda: trouble[0] if trouble else "", wish.rounds)


def _inspect(pool: InspectionPool, frame: ImageU8, workers: Sequence[int], trouble: list[str]) -> Timed | None:
    result = pool.inspect(frame)
    if result.mask is None:
        trouble.append(", ".join(result.verdict.reasons))
        return None
    planes = Planes(result.mask.class_ids, result.mask.scores)
    return Timed(result.ms["frame"], planes, sum(peak_mb(pid) for pid in workers))


@contextmanager
def _peer(wish: PeersWish, exchange: Exchange, name: str, cores: int, rounds: int) -> Iterator[Contender]:
    process = PeerProcess(wish.python, exchange.folder, name, cores, exchange.folder / f"{name}.log")
    with process:
        yield Contender(
            PEERS[name],
            lambda frame: process.run(exchange.folder / f"frame_{frame}.npy"),
            lambda: "; ".join(filter(None, (process.versions, process.setting))),
            lambda: process.failure,
            rounds,
            same_network=name != CLASSIC,
        )


def _row(contender: Contender, everybody: Sequence[Contender], bundle: Bundle, exchange: Exchange, cores: int) -> Row:
    row: Row = {"name": contender.name, "cores": cores, "note": contender.note()}
    if contender.failure() or not contender.ms:
        return row | {"failed": contender.failure() or "no round was counted"}
    times = list(contender.ms.values())
    row |= {
        "frame_ms": round(statistics.median(times), 1),
        "least_ms": round(min(times), 1),
        "most_ms": round(max(times), 1),
        "rounds": len(times),
        "ratio": ratio(contender.ms, everybody[0].ms),
        "peak_mb": round(contender.peak_mb, 1),
    }
    reference = next((each for each in everybody if each.name == PEERS[REFERENCE]), None)
    if reference is None or not contender.same_network:
        return row
    found = agreement(contender.planes, reference.planes, bundle, exchange.frame_hw)
    return row | ({"core_differ": found.core_differ, "seam_differ": found.seam_differ} if found else {})


def ratio(ms: dict[int, float], against: dict[int, float]) -> float | None:
    """The median of the rounds' ratios, so that a neighbour that slows a round slows both."""
    shared = [ms[number] / against[number] for number in ms if number in against]
    return round(statistics.median(shared), 2) if shared else None


def agreement(
    found: dict[int, Planes], wanted: dict[int, Planes], bundle: Bundle, frame_hw: tuple[int, int]
) -> Agreement | None:
    """Over all frames that both have; None for none."""
    contract = bundle.input_contract
    grid = plan_grid(frame_hw, contract.tile_px, contract.margin_px, contract.stride_px)
    whole = None
    for frame in found.keys() & wanted.keys():
        one = compare(found[frame], wanted[frame], grid, bundle.mask_stride_px)
        whole = one if whole is None else whole + one
    return whole
