"""The program of the fork server: `LINE_FD`. It imports what children need, but for the engines, and forks them."""

from __future__ import annotations

import os
import sys

from edge_runtime.runtime.fork_server import serve


def preload() -> None:
    """What capture, inspection and office need; engines start threads, and must not be loaded before a fork."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy would start threads, which no fork takes along
    from edge_runtime import cameras as cameras
    from edge_runtime import child_program as child_program
    from edge_runtime import fastest_engine as fastest_engine
    from edge_runtime import recipe_plans as recipe_plans
    from edge_runtime.camera import folder as folder
    from edge_runtime.camera import opencv as opencv
    from edge_runtime.runtime import capture as capture
    from edge_runtime.runtime import guard as guard
    from edge_runtime.runtime import inspection as inspection
    from edge_runtime.runtime import office as office
    from edge_runtime.storage import database as database
    from edge_runtime.storage import image_store as image_store


def run_child(words: list[str]) -> int:
    """`ROLE CHANNEL_FD RING_FD`; its exit code."""
    from edge_runtime.child_program import child_main

    return child_main(words)


if __name__ == "__main__":
    serve(int(sys.argv[1]), preload, run_child)
