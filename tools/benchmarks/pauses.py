"""What a machine takes from a process by itself: the pauses of one that does nothing but look at the clock."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass

PAUSE_NS = 500_000


@dataclass(frozen=True)
class Pauses:
    """Times over half a millisecond in which a process that wanted to run did not, on the processors together."""

    per_second: float
    max_ms: float


def machine_pauses(duration_s: float) -> Pauses:
    """One process on each processor at the same time. No other can be more punctual than this."""
    processors = sorted(os.sched_getaffinity(0))
    words = [sys.executable, "-m", "tools.benchmarks.pauses", str(duration_s)]
    children = [subprocess.Popen([*words, str(cpu)], stdout=subprocess.PIPE, text=True) for cpu in processors]
    told = [child.communicate()[0].split() for child in children]
    pauses_ms = [float(word) for words in told for word in words]
    return Pauses(round(len(pauses_ms) / duration_s, 1), round(max(pauses_ms, default=0.0), 1))


def _pauses_ms(duration_s: float) -> list[float]:
    found, before_ns = [], time.monotonic_ns()
    end_ns = before_ns + round(duration_s * 1e9)
    while before_ns < end_ns:
        now_ns = time.monotonic_ns()
        if now_ns - before_ns > PAUSE_NS:
            found.append((now_ns - before_ns) / 1e6)
        before_ns = now_ns
    return found


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[2])})
    print(*_pauses_ms(float(sys.argv[1])))
