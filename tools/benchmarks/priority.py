"""Inspection workers give way to the line; what they are compared with must give way as much."""

from __future__ import annotations

import os

from edge_runtime.process_table import NICENESS
from edge_runtime.runtime.children import Role

AS_A_WORKER = ("nice", "-n", str(NICENESS[Role.INSPECTION]))
"""Before the words of a command: the process that they start is the same one."""


def work_as_a_worker() -> None:
    """Give this process, for good, the priority of a worker."""
    os.nice(NICENESS[Role.INSPECTION])
