"""`bench peers`: the same frames and the same network through this runtime and through what else there is."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edge_runtime.inference.bundle import Bundle, load_bundle
from edge_runtime.values import TileGrid
from edge_runtime.vision.tiling import plan_grid
from tools.benchmarks.agreement import Agreement, Planes, compare
from tools.benchmarks.contenders import CLASSIC, PEERS, REFERENCE, Contender, check_python, ours, ours_name, peer
from tools.benchmarks.daemon import scratch
from tools.benchmarks.frames import inspection, planned
from tools.benchmarks.peer_frames import painted_frames, read_frames, write_frames
from tools.benchmarks.peer_networks import bundle_task, classic_task, common_size, prepare_exchange
from tools.benchmarks.report import Clerk, Report, Row
from tools.golden_pictures import MadePicture
from tools.progress import progress_bar

_Opened = AbstractContextManager[Contender]


@dataclass(frozen=True)
class PeersWish:
    """`frames`: a folder (a data set where the bundle takes a template), or None for made-up boards.

    `python`: the interpreter of the peers' environment.
    `backends`: of this runtime; ratios are against each. `classic`: a run of classic.toml; None: untrained. The classic
    UNet runs at the most processors only, in `classic_rounds` rounds. `accuracy`: F by a row's name.
    `windows_px`: sides of the windows of peers that cut the frame; empty: the bundle's usual one and the one that this
    runtime plans with.
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
    classic: Path | None = None
    accuracy: Mapping[str, float] = field(default_factory=dict)
    windows_px: Sequence[int] = ()

    @property
    def with_classic(self) -> bool:
        return self.classic_rounds > 0 and any(PEERS[name].classic for name in self.peers)


@dataclass(frozen=True)
class _Stage:
    """Everything that is made ready before anybody runs. Exchange folders by the side of their windows; none of the
    classic UNet's where it takes no part."""

    bundle: Bundle
    files: Sequence[Path]
    frame_hw: tuple[int, int]
    exchanges: Mapping[int, Path]
    classics: Mapping[int, Path]
    scratch: Path


def bench_peers(wish: PeersWish) -> Report:
    """One row for each contender and number of processors, all of a number interleaved frame by frame.

    Raises BundleError, InferenceError, CameraError, ToolError. A peer that cannot be run is a row that says why.
    """
    clerk, bundle = Clerk("peers"), load_bundle(wish.bundle)
    check_python(wish.python)
    frames = frames_of(wish, bundle.input_contract.template)
    usual_px = bundle.input_contract.tile_px
    task, classic = bundle_task(bundle, usual_px), classic_task(bundle, wish.classic, usual_px)
    frame_hw = common_size(
        classic if wish.with_classic else task, {(f.image.shape[0], f.image.shape[1]) for f in frames}
    )
    rows: list[Row] = []
    with scratch("peers") as folder, progress_bar("rounds") as advance:
        stage = _prepared(wish, bundle, frames, frame_hw, folder)
        total = len(wish.cores) * (1 + wish.rounds)
        for cores in wish.cores:
            for done in _measure(wish, stage, cores, rows):
                advance(wish.cores.index(cores) * (1 + wish.rounds) + done, total)
    conditions = {
        "model": bundle.model_id,
        "GMAC a tile": task.gmacs,
        "GMAC a tile of UNet 64-512": classic.gmacs,
        "UNet 64-512": trained_words(wish),
        "frames": f"{len(frames)} {source(wish.frames)}",
        "size": " x ".join(map(str, frame_hw[::-1])),
        "windows px": list(stage.exchanges),
        "margin px": bundle.input_contract.margin_px,
        "rounds": wish.rounds,
    }
    return clerk.report(conditions, rows)


def _prepared(
    wish: PeersWish, bundle: Bundle, frames: Sequence[MadePicture], frame_hw: tuple[int, int], folder: Path
) -> _Stage:
    sides_px = wish.windows_px or windows_of(bundle, frame_hw)
    return _Stage(
        bundle,
        write_frames(frames, folder),
        frame_hw,
        {side: prepare_exchange(bundle_task(bundle, side), frame_hw, folder / f"network-{side}") for side in sides_px},
        {
            side: prepare_exchange(classic_task(bundle, wish.classic, side), frame_hw, folder / f"{CLASSIC}-{side}")
            for side in sides_px
            if wish.with_classic
        },
        folder,
    )


def windows_of(bundle: Bundle, frame_hw: tuple[int, int]) -> list[int]:
    """The bundle's usual side, and the one that this runtime's ONNX engines would be given for such a frame."""
    _, plan = planned(inspection(bundle.folder, 2, "onnxruntime"), bundle, frame_hw)
    return sorted({bundle.input_contract.tile_px, plan.tile_px})


def trained_words(wish: PeersWish) -> str:
    if not wish.with_classic:
        return ""
    if wish.classic is None:
        return "untrained, for its time alone"
    known = wish.accuracy.get(PEERS[CLASSIC].label)
    return "trained" if known is None else f"trained, F {known:.3f}"


def frames_of(wish: PeersWish, with_template: bool) -> list[MadePicture]:
    if wish.frames is None:
        return painted_frames(wish.frame_count, with_template)
    return read_frames(wish.frames, wish.frame_count, with_template)


def source(folder: Path | None) -> str:
    """Where frames come from, without the way there."""
    return "made-up boards" if folder is None else f"of {'/'.join(folder.resolve().parts[-2:])}"


def _measure(wish: PeersWish, stage: _Stage, cores: int, rows: list[Row]) -> Iterator[int]:
    """Rounds done; at the end `rows` has grown by one for each contender."""
    with ExitStack() as stack:
        contenders = [stack.enter_context(each) for each in _everybody(wish, stage, cores)]
        for round_number in range(1 + wish.rounds):
            for contender in contenders:
                contender.take(round_number, stage.files[round_number % len(stage.files)])
            yield round_number + 1
    rows += [_row(each, contenders, wish, stage, cores) for each in contenders]


def _everybody(wish: PeersWish, stage: _Stage, cores: int) -> Iterator[_Opened]:
    for backend in wish.backends:
        yield _rounds(ours(stage.bundle, backend, cores, stage.scratch, {stage.frame_hw}), 0, wish.rounds)
    for name in wish.peers:
        kind = PEERS[name]
        if kind.classic and cores < max(wish.cores):
            continue
        folders = list((stage.classics if kind.classic else stage.exchanges).items())
        first, last = (1, min(wish.rounds, wish.classic_rounds)) if kind.classic else (0, wish.rounds)
        for number, (side_px, folder) in enumerate(folders if kind.windows else folders[:1]):
            suffix = f", {side_px} px" if number else ""
            yield _rounds(peer(name, wish.python, folder, cores, suffix), first, last, side_px if kind.windows else 0)


@contextmanager
def _rounds(opened: _Opened, first: int, last: int, window_px: int = 0) -> Iterator[Contender]:
    with opened as contender:
        contender.first_round, contender.last_round, contender.window_px = first, last, window_px
        yield contender


def _row(contender: Contender, everybody: Sequence[Contender], wish: PeersWish, stage: _Stage, cores: int) -> Row:
    row: Row = {"name": contender.name, "cores": cores, "note": contender.note()}
    if contender.failure() or not contender.ms:
        return row | {"failed": contender.failure() or "no round was counted"}
    times = list(contender.ms.values())
    by_name = {each.name: each for each in everybody}
    row |= {
        "frame_ms": round(statistics.median(times), 1),
        "least_ms": round(min(times), 1),
        "most_ms": round(max(times), 1),
        "rounds": len(times),
        "f_score": wish.accuracy.get(contender.name),
        "ratio": {each: ratio(contender.ms, by_name[ours_name(each)].ms) for each in wish.backends},
        "peak_mb": round(contender.peak_mb, 1),
    }
    reference = by_name.get(PEERS[REFERENCE].label)
    if reference is None or not contender.same_network:
        return row
    contract = stage.bundle.input_contract
    grid = plan_grid(stage.frame_hw, contender.window_px or contract.tile_px, contract.margin_px, contract.stride_px)
    found = agreement(contender.planes, reference.planes, grid, stage.bundle.mask_stride_px)
    return row | ({"core_differ": found.core_differ, "seam_differ": found.seam_differ} if found else {})


def ratio(ms: Mapping[int, float], against: Mapping[int, float]) -> float | None:
    """The median of the rounds' ratios, so that a neighbour that slows a round slows both."""
    shared = [ms[number] / against[number] for number in ms if number in against]
    return round(statistics.median(shared), 2) if shared else None


def agreement(
    found: Mapping[Path, Planes], wanted: Mapping[Path, Planes], grid: TileGrid, mask_stride_px: int
) -> Agreement | None:
    """Over all frames that both have; None for none."""
    whole = None
    for frame in found.keys() & wanted.keys():
        one = compare(found[frame], wanted[frame], grid, mask_stride_px)
        whole = one if whole is None else whole + one
    return whole
