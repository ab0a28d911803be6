"""Where what lies in the frames' shared memory.

One page of process state, then the slots. A slot is a header page, the picture, the class plane, the score plane, the
template and the tiles' fates; pages that are never touched cost nothing.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass

PAGE_BYTES = mmap.PAGESIZE


def _whole_pages(byte_count: int) -> int:
    return -(-byte_count // PAGE_BYTES) * PAGE_BYTES


@dataclass(frozen=True)
class RingLayout:
    """Sizes of the shared memory: `slot_count` slots for pictures of at most `max_pixels` pixels."""

    slot_count: int
    max_pixels: int

    def __post_init__(self) -> None:
        if not 1 <= self.slot_count <= 64 or self.max_pixels < 1:
            raise ValueError(f"a frame ring needs 1..64 slots of at least one pixel, not {self}")

    @property
    def slot_bytes(self) -> int:
        return PAGE_BYTES + _whole_pages(3 * self.max_pixels) + 4 * _whole_pages(self.max_pixels)

    @property
    def total_bytes(self) -> int:
        return PAGE_BYTES + self.slot_count * self.slot_bytes

    def header_at(self, slot: int) -> int:
        if not 0 <= slot < self.slot_count:
            raise ValueError(f"slot {slot} does not exist; there are {self.slot_count}")
        return PAGE_BYTES + slot * self.slot_bytes

    def image_at(self, slot: int) -> int:
        return self.header_at(slot) + PAGE_BYTES

    def class_ids_at(self, slot: int) -> int:
        return self.image_at(slot) + _whole_pages(3 * self.max_pixels)

    def scores_at(self, slot: int) -> int:
        return self.class_ids_at(slot) + _whole_pages(self.max_pixels)

    def template_at(self, slot: int) -> int:
        return self.scores_at(slot) + _whole_pages(self.max_pixels)

    def fates_at(self, slot: int) -> int:
        """One byte for each tile; there are no more than pixels, for their cores are disjoint."""
        return self.template_at(slot) + _whole_pages(self.max_pixels)
