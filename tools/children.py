"""Native code in child processes: what aborts there becomes an answer here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tools.errors import ConversionError

CHILD_LIMIT_S = 600


def run_child(script: str, *arguments: str, limit_s: int = CHILD_LIMIT_S) -> subprocess.CompletedProcess[str]:
    """Run one of this package's child scripts on one thread, its output captured.

    Raises ConversionError when it takes longer than `limit_s`.
    """
    command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise ConversionError(f"{script}: no answer within {limit_s} s") from exc


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """How a child ended and the line of its output that says most about it."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    telling = [line for line in lines if "Check failed" in line or "Error" in line] or lines or ["no message"]
    return f"{_how_it_ended(done.returncode)}: {telling[-1][:300]}"


def _how_it_ended(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
