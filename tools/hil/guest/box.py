"""Commands and files in the box."""

from __future__ import annotations

import subprocess
from pathlib import Path


def shell(command: str, timeout_s: float = 600) -> tuple[int, str]:
    """Exit code and what was printed; 124 when it took too long."""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        return 124, (exc.stdout or b"").decode(errors="replace")
    return done.returncode, done.stdout.decode(errors="replace")


def write_file(path: str, text: str) -> None:
    Path(path).write_text(text)
