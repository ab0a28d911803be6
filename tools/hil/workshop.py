"""Where the bench keeps what it builds, and how it runs other programs."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


class BenchError(Exception):
    """The bench itself cannot go on; says what failed and what to do."""


def run(command: Sequence[str | Path], timeout_s: float = 600, cwd: Path | None = None, stdin: bytes = b"") -> str:
    """What the command printed. Raises BenchError with the end of its output when it fails or takes too long."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise BenchError(f"`{' '.join(words)}`: {exc}") from exc
    text = done.stdout.decode(errors="replace")
    if done.returncode:
        raise BenchError(f"`{' '.join(words)}` ended with {done.returncode}:\n{text[-3000:]}")
    return text


def digest_of(*parts: object) -> str:
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:16]


def built(target: Path, key: str, build: Callable[[Path], None]) -> Path:
    """`target`, built anew unless it was built whole from the same `key`; what it was before is removed."""
    stamp = target.with_name(target.name + ".key")
    if target.exists() and stamp.exists() and stamp.read_text() == key:
        return target
    stamp.unlink(missing_ok=True)
    remove(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    started_s = time.monotonic()
    print(f"building {target.name} …", flush=True)
    build(target)
    stamp.write_text(key)
    print(f"built {target.name} in {time.monotonic() - started_s:.0f} s", flush=True)
    return target


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
