"""Large pages change neither contents nor what is shared, and are there where the kernel has them."""

import mmap
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.huge_pages import own_memory, take_huge_pages, without

ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
CHILD = """
import hashlib, mmap, os, re, sys
from edge_runtime.huge_pages import own_memory, take_huge_pages

def huge_kb():
    return int(re.search(r"AnonHugePages: +(\\d+) kB", open("/proc/self/smaps_rollup").read())[1])

pattern = os.urandom(4096) * 4096
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
early = mmap.mmap(-1, len(pattern), PRIVATE); early[:] = pattern
before = own_memory()
late = mmap.mmap(-1, len(pattern), PRIVATE); late[:] = pattern
small = huge_kb()
take_huge_pages(but_not=before)
print(huge_kb() - small, late[:] == pattern, early[:] == pattern)
"""


def ranges_of(cells: set[int]) -> list[tuple[int, int]]:
    """Maximal runs of whole numbers as half-open ranges."""
    return [(n, next(m for m in range(n, 99) if m + 1 not in cells) + 1) for n in sorted(cells) if n - 1 not in cells]


numbers = st.sets(st.integers(0, 40))


@given(numbers, numbers)
def test_what_is_taken_is_cut_out_and_nothing_else(have, taken):
    left = list(without(ranges_of(have), ranges_of(taken)))
    assert all(begin < end for begin, end in left)
    assert [n for begin, end in left for n in range(begin, end)] == sorted(have - taken)


def test_own_memory_holds_what_was_mapped_and_no_file():
    def total() -> int:
        return sum(end - begin for begin, end in own_memory())

    before = total()
    with mmap.mmap(-1, 64 << 20), mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS):
        assert 64 << 20 <= total() - before < 80 << 20  # the first is shared, as the frame ring is
    assert own_memory() == sorted(own_memory())


def test_new_memory_lies_on_huge_pages_and_holds_what_it_held():
    release = tuple(int(number) for number in re.findall(r"\d+", Path("/proc/version").read_text())[:2])
    if not ENABLED.exists() or "[never]" in ENABLED.read_text() or release < (6, 1):
        pytest.skip("this kernel gives no huge pages at once")
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=60, check=True)
    gained_kb, late_held, early_held = done.stdout.split()
    assert (late_held, early_held) == ("True", "True")
    assert 10 << 10 <= int(gained_kb) < 24 << 10  # of 16 MB that came late; those before are left alone


def test_a_process_with_little_memory_is_left_alone():
    take_huge_pages(but_not=own_memory())
