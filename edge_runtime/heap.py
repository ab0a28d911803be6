"""glibc's allocator told which memory lasts and which passes: neither an engine nor an encoder leaves holes behind.

By itself it puts allocations of up to 32 MiB side by side on one heap once the first of that size was freed, and only
the heap's end goes back to the kernel. Nothing depends on it: another C library has no `mallopt`, and all stays as it
is.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGE_BYTES = 1 << 20
LARGEST_ON_HEAP_BYTES = 32 << 20  # glibc takes no more
HEAP_END_BYTES = 64 << 20  # where glibc would come to by itself


def keep_large_apart() -> None:
    """From now on what is 1 MiB and larger has pages of its own, which go back to the kernel when it is freed.

    Fresh pages take time: for memory that lasts, and where memory counts more than time. Never raises.
    """
    _mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)


def keep_freed() -> None:
    """From now on what is freed stays on the heap for the next allocation: what passes needs no fresh pages each time.

    But for 64 MiB and more at its end. Never raises.
    """
    _mallopt(M_MMAP_THRESHOLD, LARGEST_ON_HEAP_BYTES)
    _mallopt(M_TRIM_THRESHOLD, HEAP_END_BYTES)


def _mallopt(parameter: int, value_bytes: int) -> None:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(parameter, value_bytes)
