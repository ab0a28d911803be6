"""Large pages for an engine's memory: the processor then looks up fewer addresses, and a network takes up to 9 % less.

Linux gives them to who asks where /sys/kernel/mm/transparent_hugepage/enabled says `madvise` or `always`. Nothing
depends on it: a kernel that has none, or no room for any, leaves the small pages as they are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from pathlib import Path

HUGE_PAGE_BYTES = 2 << 20
MAPS = Path("/proc/self/maps")
MADV_HUGEPAGE = 14
MADV_COLLAPSE = 25  # Linux 6.1; older ones do it by and by, in the background

Range = tuple[int, int]


def own_memory() -> list[Range]:
    """The address ranges of this process's private anonymous memory, ascending, begin and end. Never raises."""
    try:
        return list(_anonymous(MAPS.read_text().splitlines()))
    except OSError:
        return []


def take_huge_pages(but_not: Iterable[Range]) -> None:
    """Put this process's private memory on huge pages, but what lies in the ascending ranges `but_not`.

    Those are what it had before it loaded an engine: pages that it may share with the process it was forked from.
    Contents and addresses stay. About 0.1 s for 100 MB. Never raises.
    """
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for begin, end in without(own_memory(), but_not):
        if end - begin >= HUGE_PAGE_BYTES:
            libc.madvise(begin, end - begin, MADV_HUGEPAGE)
            libc.madvise(begin, end - begin, MADV_COLLAPSE)


def without(ranges: Iterable[Range], taken: Iterable[Range]) -> Iterator[Range]:
    """What is left of ascending, disjoint ranges when `taken`, such ones too, are cut out of them."""
    holes = list(taken)
    for begin, end in ranges:
        for hole_begin, hole_end in holes:
            if hole_begin < end and begin < hole_end:
                if begin < hole_begin:
                    yield begin, hole_begin
                begin = hole_end
        if begin < end:
            yield begin, end


def _anonymous(lines: Iterable[str]) -> Iterator[Range]:
    """Of the lines of /proc/PID/maps: address, permissions, offset, device, inode and maybe a name."""
    for line in lines:
        addresses, permissions, _, _, inode, *name = line.split()
        if permissions == "rw-p" and inode == "0" and name != ["[stack]"]:
            begin, _, end = addresses.partition("-")
            yield int(begin, 16), int(end, 16)
