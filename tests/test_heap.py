"""Each in a process of its own: what glibc was told once holds for all that comes."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, re, sys
from pathlib import Path
from edge_runtime.heap import keep_freed, keep_large_apart

libc = ctypes.CDLL(None)
libc.malloc.restype = libc.memset.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = (ctypes.c_size_t,), (ctypes.c_void_p,)
libc.memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
MB = 1_000_000

def taken(size):
    at = libc.malloc(size)
    libc.memset(at, 1, size)
    return at

def rss_mb():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024 / MB

def passed_through():
    before = rss_mb()
    for _ in range(2):
        passing, lasting = taken(20 * MB), taken(200_000)
        libc.free(passing)
    return rss_mb() - before

def flooded():
    before = rss_mb()
    for block in [taken(20 * MB) for _ in range(6)]:
        libc.free(block)
    return rss_mb() - before

steps = {"pass": passed_through, "flood": flooded, "apart": keep_large_apart, "keep": keep_freed}
for step in sys.argv[1:]:
    print(steps[step]())
"""


def left_mb(*steps: str) -> list[float]:
    """What each `pass` left behind of 20 MB that were taken and freed, and each `flood` of 120 MB."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, *steps], capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split() if line != "None"]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone is told")
def test_what_is_apart_goes_back_at_once_and_what_is_kept_stays():
    assert left_mb("pass")[0] > 15
    assert left_mb("apart", "pass")[0] < 2
    apart, kept, again = left_mb("apart", "pass", "keep", "pass", "pass")
    assert apart < 2
    assert kept > 15
    assert again < 2


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone is told")
def test_a_flood_is_not_kept():
    assert left_mb("apart", "keep", "flood")[0] < 70
