"""`edge-runtime bench --tune`: the fastest set-up of this device, written into the settings file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from edge_runtime.commands.bench import BenchOptions, Subject, machine_json, progress, subject_of
from edge_runtime.commands.daemon_watch import refuse_beside_daemon
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.processors import read_processors
from edge_runtime.tuning.engines import engines_to_try
from edge_runtime.tuning.neighbour import neighbour
from edge_runtime.tuning.search import Standing
from edge_runtime.tuning.settings_file import Change, changes_of, write_changes
from edge_runtime.tuning.setups import Setup
from edge_runtime.tuning.sides import Work
from edge_runtime.tuning.stand import Stand
from edge_runtime.tuning.tune import Tuned, Tuner, TuneRules

LOOK_EVERY_S = 2.0


@dataclass(frozen=True)
class TuneOptions:
    """What `--tune` adds to what is measured."""

    rules: TuneRules
    keep_engine: bool
    keep_tiles: bool
    dry_run: bool


@dataclass(frozen=True)
class Found:
    """A tune and what its report tells: `worker_bytes`, the memory of one worker, by set-up."""

    subject: Subject
    work: Work
    tuned: Tuned
    problems: dict[Setup, str]
    worker_bytes: dict[Setup, int]

    def worker_mb(self, setup: Setup) -> int:
        return round(self.worker_bytes.get(setup, 0) / 1e6)


def run_tune(options: BenchOptions, wish: TuneOptions, as_json: bool) -> None:
    """Find, print and write. Raises ConfigError, BundleError, InferenceError."""
    check = _watch(options.force)
    check()
    found = _found(subject_of(options), options, wish, check)
    subject, tuned = found.subject, found.tuned
    changes = changes_of(subject.settings.inspection, tuned.chosen.subject.keys)
    told = partial(Console(quiet=as_json).print, highlight=False, markup=False)
    told(_table(found))
    for setup, problem in found.problems.items():
        told(f"cannot be used: {setup}: {problem}")
    untried = [str(setup) for race in tuned.races.values() for setup in race.untried]
    if untried:
        told(f"not tried for lack of time (allow more: --seconds): {'; '.join(untried)}")
    told(_words(found, wish.rules))
    for change in changes:
        told(str(change))
    backup = None
    if options.settings is not None and changes and not wish.dry_run:
        backup = write_changes(options.settings, changes)
        told(f"{options.settings}: written; the old file is {backup}")
    elif not changes:
        told("the settings are the best already: nothing is changed")
    if as_json:
        print(json.dumps(_json(found, wish, changes, str(backup) if backup else None)))


def _found(subject: Subject, options: BenchOptions, wish: TuneOptions, check: Callable[[], None]) -> Found:
    settings, bundle = subject.settings, subject.bundle
    inspection = settings.inspection
    recipes = settings.numbered_recipes.values()
    work = Work(settings, [(load_bundle(each.bundle), each.recipe.value()) for each in recipes])
    engines = engines_to_try(inspection, bundle, wish.keep_engine)
    now = Setup(engines[0], inspection.workers, inspection.threads, inspection.cpu_affinity, inspection.tile_px)
    processors = read_processors(allowed=os.sched_getaffinity(0))
    with progress() as bar, neighbour(options.reserve):
        task = bar.add_task("starting", total=1.0)
        with Stand(settings, bundle.mask_stride_px, subject.material) as stand:

            def tell(text: str, share: float) -> None:
                bar.update(task, description=text, completed=share)

            def other_sides(setup: Setup) -> list[Setup]:
                return [] if wish.keep_tiles else work.other_sides(setup)

            tuner = Tuner(stand, processors, wish.rules, other_sides, tell, check)
            tuned = tuner.tune(engines, now, inspection.backend == "auto")
            return Found(subject, work, tuned, dict(stand.problems), dict(stand.worker_bytes))


def _watch(force: bool) -> Callable[[], None]:
    """Refuses beside a daemon, also one that is started meanwhile; looks every `LOOK_EVERY_S`."""
    last_s = -LOOK_EVERY_S

    def check() -> None:
        nonlocal last_s
        if not force and time.monotonic() - last_s >= LOOK_EVERY_S:
            refuse_beside_daemon()
            last_s = time.monotonic()

    return check


def _table(found: Found) -> Table:
    subject, tuned = found.subject, found.tuned
    height_px, width_px = subject.material.image_hw
    table = Table(title=f"{subject.bundle.model_id}, {width_px} × {height_px} px, {tuned.seconds:.0f} s")
    for name in ("race", "set-up", "tiles, px"):
        table.add_column(name, overflow="fold")
    for name in ("median ms", "p99 ms", "frames", "MB a worker"):
        table.add_column(name, justify="right")
    for stage, race in tuned.races.items():
        for standing in [*race.finalists, *reversed(race.beaten)]:
            setup = standing.subject
            tiles, worker_mb = found.work.tiles(setup), str(found.worker_mb(setup))
            table.add_row(stage, str(setup), f"{tiles.count} × {tiles.side_px}", *_figures(standing), worker_mb)
        table.add_section()
    return table


def _figures(standing: Standing[Setup]) -> tuple[str, str, str]:
    return f"{standing.median_ms:.1f}", f"{standing.p99_ms:.1f}", str(sum(map(len, standing.visits)))


def _words(found: Found, rules: TuneRules) -> str:
    tuned = found.tuned
    thermal = f"device: {tuned.begin} at begin, {tuned.warm} warm, {tuned.end} at end"
    steady = "" if tuned.steady else f"; not steady after {rules.warm_up_s:.0f} s of warm-up: allow more (--warm-up)"
    now, chosen = tuned.now, tuned.chosen
    told = f"{chosen.subject}, {found.work.tiles(chosen.subject)}"
    if now is None:
        return f"{thermal}{steady}\nthe settings as they are cannot run; chosen: {told}"
    return (
        f"{thermal}{steady}\nnow {now.subject}: median {now.median_ms:.1f}, p99 {now.p99_ms:.1f} ms\n"
        f"chosen {told}: median {chosen.median_ms:.1f}, p99 {chosen.p99_ms:.1f} ms, "
        f"{now.median_ms / chosen.median_ms:.2f} times as fast"
    )


def _json(found: Found, wish: TuneOptions, changes: list[Change], backup: str | None) -> dict[str, Any]:
    subject, tuned = found.subject, found.tuned
    height_px, width_px = subject.material.image_hw
    told = partial(_standing_json, found)
    return {
        **machine_json(),
        "model": subject.bundle.model_id,
        "picture_px": [width_px, height_px],
        "goal": wish.rules.goal,
        "seconds": round(tuned.seconds, 1),
        "steady": tuned.steady,
        "chosen": told(tuned.chosen),
        "now": tuned.now and told(tuned.now),
        "races": {
            stage: [told(standing) for standing in [*race.finalists, *reversed(race.beaten)]]
            for stage, race in tuned.races.items()
        },
        "changes": {change.key: {"old": change.old, "new": change.new} for change in changes},
        "backup": backup,
    }


def _standing_json(found: Found, standing: Standing[Setup]) -> dict[str, Any]:
    setup, tiles = standing.subject, found.work.tiles(standing.subject)
    figures = {"median_ms": standing.median_ms, "p99_ms": standing.p99_ms}
    return {
        **setup.keys,
        **{name: round(value, 3) for name, value in figures.items()},
        "frames": sum(map(len, standing.visits)),
        "tiles": tiles.count,
        "side_px": tiles.side_px,
        "worker_mb": found.worker_mb(setup),
    }
