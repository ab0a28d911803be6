"""Child process: the load of the daemon's other processes, in their place, while its workers are measured.

`python -m edge_runtime.tuning.neighbour SHARE`: SHARE of one core, in short bursts, at the priority of the capture.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from edge_runtime.processes import die_with_parent

PERIOD_S = 0.05
NICENESS = 2


@contextmanager
def neighbour(share: float) -> Iterator[None]:
    """While inside, `share` of one core is taken by somebody else; 0: nobody."""
    if share <= 0:
        yield
        return
    command = [sys.executable, "-m", "edge_runtime.tuning.neighbour", str(share)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    die_with_parent()
    os.nice(NICENESS)
    busy_s = float(sys.argv[1]) * PERIOD_S
    while True:
        began_s = time.monotonic()
        while time.monotonic() - began_s < busy_s:
            pass
        time.sleep(max(0.0, PERIOD_S - busy_s))


if __name__ == "__main__":
    main()
