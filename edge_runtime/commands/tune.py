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
from edge_runtime.processors import read_processors
from edge_runtime.tuning.engines import engines_to_try
from edge_runtime.tuning.neighbour import neighbour
from edge_runtime.tuning.search import Standing
from edge_runtime.tuning.settings_file import Change, changes_of, write_changes
from edge_runtime.tuning.setups import Setup
from edge_runtime.tuning.stand import Stand
from edge_runtime.tuning.tune import Tuned, Tuner, TuneRules

LOOK_EVERY_S = 2.0


@dataclass(frozen=True)
class TuneOptions:
    """What `--tune` adds to what is measured."""

    rules: TuneRules
    keep_engine: bool
    dry_run: bool


def run_tune(options: BenchOptions, wish: TuneOptions, as_json: bool) -> None:
    """Find, print and write. Raises ConfigError, BundleError, InferenceError."""
    check = _watch(options.force)
    check()
    subject = subject_of(options)
    tuned, problems = _tuned(subject, options, wish, check)
    changes = changes_of(subject.settings.inspection, tuned.chosen.subject.keys)
    told = partial(Console(quiet=as_json).print, highlight=False, markup=False)
    told(_table(subject, tuned))
    for setup, problem in problems.items():
        told(f"cannot be used: {setup}: {problem}")
    untried = [str(setup) for race in tuned.races.values() for setup in race.untried]
    if untried:
        told(f"not tried for lack of time (allow more: --seconds): {'; '.join(untried)}")
    told(_words(tuned, wish.rules))
    for change in changes:
        told(str(change))
    backup = None
    if options.settings is not None and changes and not wish.dry_run:
        backup = write_changes(options.settings, changes)
        told(f"{options.settings}: written; the old file is {backup}")
    elif not changes:
        told("the settings are the best already: nothing is changed")
    if as_json:
        print(json.dumps(_json(subject, wish, tuned, changes, str(backup) if backup else None)))


def _tuned(
    subject: Subject, options: BenchOptions, wish: TuneOptions, check: Callable[[], None]
) -> tuple[Tuned, dict[Setup, str]]:
    settings, bundle = subject.settings, subject.bundle
    inspection = settings.inspection
    engines = engines_to_try(inspection, bundle, wish.keep_engine)
    now = Setup(engines[0], inspection.workers, inspection.threads, inspection.cpu_affinity)
    processors = read_processors(allowed=os.sched_getaffinity(0))
    with progress() as bar, neighbour(options.reserve):
        task = bar.add_task("starting", total=1.0)
        with Stand(settings, bundle.mask_stride_px, subject.material) as stand:

            def tell(text: str, share: float) -> None:
                bar.update(task, description=text, completed=share)

            tuner = Tuner(stand, processors, wish.rules, tell, check)
            return tuner.tune(engines, now, inspection.backend == "auto"), dict(stand.problems)


def _watch(force: bool) -> Callable[[], None]:
    """Refuses beside a daemon, also one that is started meanwhile; looks every `LOOK_EVERY_S`."""
    last_s = -LOOK_EVERY_S

    def check() -> None:
        nonlocal last_s
        if not force and time.monotonic() - last_s >= LOOK_EVERY_S:
            refuse_beside_daemon()
            last_s = time.monotonic()

    return check


def _table(subject: Subject, tuned: Tuned) -> Table:
    height_px, width_px = subject.material.image_hw
    table = Table(title=f"{subject.bundle.model_id}, {width_px} × {height_px} px, {tuned.seconds:.0f} s")
    for name in ("race", "set-up", "median ms", "p99 ms", "frames"):
        table.add_column(name, justify="right" if name in ("median ms", "p99 ms", "frames") else "left")
    for stage, race in tuned.races.items():
        for standing in [*race.finalists, *reversed(race.beaten)]:
            table.add_row(stage, str(standing.subject), *_figures(standing))
        table.add_section()
    return table


def _figures(standing: Standing[Setup]) -> tuple[str, str, str]:
    return f"{standing.median_ms:.1f}", f"{standing.p99_ms:.1f}", str(sum(map(len, standing.visits)))


def _words(tuned: Tuned, rules: TuneRules) -> str:
    thermal = f"device: {tuned.begin} at begin, {tuned.warm} warm, {tuned.end} at end"
    steady = "" if tuned.steady else f"; not steady after {rules.warm_up_s:.0f} s of warm-up: allow more (--warm-up)"
    now = tuned.now
    if now is None:
        return f"{thermal}{steady}\nthe settings as they are cannot run; chosen: {tuned.chosen.subject}"
    gain = now.median_ms / tuned.chosen.median_ms
    return (
        f"{thermal}{steady}\nnow {now.subject}: median {now.median_ms:.1f}, p99 {now.p99_ms:.1f} ms\n"
        f"chosen {tuned.chosen.subject}: median {tuned.chosen.median_ms:.1f}, p99 {tuned.chosen.p99_ms:.1f} ms, "
        f"{gain:.2f} times as fast"
    )


def _json(
    subject: Subject, wish: TuneOptions, tuned: Tuned, changes: list[Change], backup: str | None
) -> dict[str, Any]:
    height_px, width_px = subject.material.image_hw
    return {
        **machine_json(),
        "model": subject.bundle.model_id,
        "picture_px": [width_px, height_px],
        "goal": wish.rules.goal,
        "seconds": round(tuned.seconds, 1),
        "steady": tuned.steady,
        "chosen": _standing_json(tuned.chosen),
        "now": tuned.now and _standing_json(tuned.now),
        "races": {
            stage: [_standing_json(standing) for standing in [*race.finalists, *reversed(race.beaten)]]
            for stage, race in tuned.races.items()
        },
        "changes": {change.key: {"old": change.old, "new": change.new} for change in changes},
        "backup": backup,
    }


def _standing_json(standing: Standing[Setup]) -> dict[str, Any]:
    figures = {"median_ms": standing.median_ms, "p99_ms": standing.p99_ms}
    return {
        **standing.subject.keys,
        **{name: round(value, 3) for name, value in figures.items()},
        "frames": sum(map(len, standing.visits)),
    }
