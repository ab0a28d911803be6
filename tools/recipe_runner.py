"""Runs a recipe's steps in child processes, each unless its output is there and was made from the same inputs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge_runtime.files import write_atomically
from edge_runtime.processes import die_with_parent
from tools.errors import ToolError
from tools.recipe import Recipe, Step, steps
from tools.runs import TrainSettings, load_settings, parse_settings

CHECKPOINT = "checkpoint.npz"
CHILD_ENDS_S = 20.0


def run_recipe(recipe: Recipe, until: str | None, trainer: str, console: Console) -> None:
    """Run the chain, or its beginning up to the step `until`; `trainer` is the interpreter of the training steps.

    Raises ToolError at the first step that fails, and at once without that interpreter and when the bundle's version
    exists and would change.
    """
    chain = steps(recipe)
    _check_version(recipe, chain, until)
    if shutil.which(trainer) is None:
        raise ToolError(f"--trainer {trainer}: no program; give a Python interpreter that has the engine installed")
    for number, step in enumerate(chain, 1):
        title = f"step {number} of {len(chain)}: {step.name}"
        digest = step_digest(step)
        if is_done(recipe, step, digest):
            console.print(f"{title}: done before")
        else:
            console.print(f"{title}: python -m tools {' '.join(step.command)}", markup=False, highlight=False)
            _run(recipe, step, digest, trainer)
        if step.name == until:
            return


def _check_version(recipe: Recipe, chain: Sequence[Step], until: str | None) -> None:
    packing = chain[-1]
    wanted = until in (None, packing.name)
    if wanted and packing.folder.exists() and not all(_is_up_to_date(recipe, step) for step in chain):
        raise ToolError(f"{packing.folder}: this version exists and a version never changes; choose the next one")


def show_steps(recipe: Recipe, console: Console) -> None:
    """The chain as a table, and which of its steps need not run again."""
    table = Table("step", "state", "output")
    outdated: list[Path] = []
    for step in steps(recipe):
        reads_outdated = any(path.is_relative_to(folder) for path in step.reads for folder in outdated)
        done = not reads_outdated and _is_up_to_date(recipe, step)
        table.add_row(step.name, "done" if done else "to do", str(step.folder))
        outdated += [] if done else [step.folder]
    console.print(table)


def _is_up_to_date(recipe: Recipe, step: Step) -> bool:
    return all(path.exists() for path in step.reads) and is_done(recipe, step, step_digest(step))


def step_digest(step: Step) -> str:
    """SHA-256 over the command, its settings and what it reads.

    A file counts with its content; a data set with its labels, and the names and sizes of all its files.
    """
    parts = [*step.command, json.dumps(step.settings, sort_keys=True, default=str)]
    parts += [_content(path) for path in step.reads]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_done(recipe: Recipe, step: Step, digest: str) -> bool:
    """Whether the step's record says that it ended well with these inputs, and its output is still there."""
    try:
        record = json.loads(_record_path(recipe, step).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return step.folder.exists() and record.get("digest") == digest


def mark_done(recipe: Recipe, step: Step, digest: str, seconds: float) -> None:
    record = {"digest": digest, "command": step.command, "seconds": round(seconds, 1)}
    write_atomically(_record_path(recipe, step), json.dumps(record, indent=1).encode() + b"\n")


def _record_path(recipe: Recipe, step: Step) -> Path:
    return recipe.work / f"{step.name}.done.json"


def _content(path: Path) -> str:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listing = "\n".join(f"{file.relative_to(path)} {file.stat().st_size}" for file in files)
        return f"{path} {_content(path / 'annotations.json')} {hashlib.sha256(listing.encode()).hexdigest()}"
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as exc:
        raise ToolError(f"{path}: {exc.strerror}; the recipe's step needs it") from exc


def _run(recipe: Recipe, step: Step, digest: str, trainer: str) -> None:
    recipe.work.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    extra = _resumed(recipe, step, digest)
    if not extra:
        _make_room(recipe, step, digest)
        extra = _settings_option(recipe, step)
    python = trainer if step.trains else sys.executable
    code = _run_child(step.name, [python, "-m", "tools", *step.command, *extra])
    if code:
        raise ToolError(f"step {step.name} ended with exit code {code}; see above. Run again to go on")
    mark_done(recipe, step, digest, time.monotonic() - began_s)


def _run_child(name: str, command: Sequence[str]) -> int:
    """The exit code of a child in a session of its own: Ctrl-C reaches this process alone, which then ends it."""
    child = subprocess.Popen(command, env=_environment(), start_new_session=True, preexec_fn=die_with_parent)
    try:
        return child.wait()
    except KeyboardInterrupt as exc:
        _end(child)
        raise ToolError(f"stopped in step {name}; give the same command again to go on") from exc


def _end(child: subprocess.Popen[bytes]) -> None:
    """Let the child tidy up as after Ctrl-C, then kill what is left of its session."""
    os.killpg(child.pid, signal.SIGINT)
    try:
        child.wait(CHILD_ENDS_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _begun_path(recipe: Recipe, step: Step) -> Path:
    return recipe.work / f"{step.name}.begun"


def _make_room(recipe: Recipe, step: Step, digest: str) -> None:
    """Remove what an earlier run of this recipe left there, and note that it begins anew.

    What somebody else put there stays, and is not noted as the recipe's: nor will the next run remove it. A bundle's
    version stays too, and its command refuses to write it again.
    """
    known = _begun_path(recipe, step).exists() or _record_path(recipe, step).exists()
    foreign = not known and step.folder.exists() and any(step.folder.iterdir())
    _record_path(recipe, step).unlink(missing_ok=True)
    if known and not step.permanent:
        shutil.rmtree(step.folder, ignore_errors=True)
    if not foreign:
        write_atomically(_begun_path(recipe, step), digest.encode())


def _resumed(recipe: Recipe, step: Step, digest: str) -> list[str]:
    """`--resume` where the same training, from the same inputs, was cut off after a checkpoint.

    Raises ToolError for a training that no recipe began, unless it has the step's settings: it may have cost hours.
    """
    if not step.trains or not (step.folder / CHECKPOINT).exists():
        return []
    begun = _begun_path(recipe, step)
    if begun.exists():
        return ["--resume"] if begun.read_text(encoding="utf-8") == digest else []
    if not _same_settings(step):
        raise ToolError(f"{step.folder}: holds a training with other settings that this recipe did not begin; move it")
    write_atomically(begun, digest.encode())
    return ["--resume"]


def _same_settings(step: Step) -> bool:
    if step.settings is None:
        return False
    wanted = parse_settings({k: v for k, v in step.settings.items() if k != "network"}, step.name)
    found = load_settings(step.folder)
    return wanted in (found, _without_teacher(found))


def _without_teacher(settings: TrainSettings) -> TrainSettings:
    return replace(settings, distillation=None)


def _settings_option(recipe: Recipe, step: Step) -> list[str]:
    if step.settings is None:
        return []
    path = step.settings_path(recipe.work)
    write_atomically(path, json.dumps(step.settings, indent=1, default=str).encode() + b"\n")
    return ["--settings", str(path)]


def _environment() -> dict[str, str]:
    """The project's own tools, also for an interpreter that does not have them installed."""
    root = str(Path(__file__).resolve().parents[1])
    paths: Iterable[str] = filter(None, (root, os.environ.get("PYTHONPATH", "")))
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": threads}
