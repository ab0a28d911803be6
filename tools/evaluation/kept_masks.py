"""Masks of a whole data set, to be looked at many times without computing them again."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from edge_runtime.values import Mask


class PackedMask(NamedTuple):
    """A mask compressed: it travels between processes at a small part of its size."""

    data: bytes
    cells_hw: tuple[int, int]
    stride_px: int


def pack_mask(mask: Mask) -> PackedMask:
    height, width = mask.class_ids.shape
    data = zlib.compress(np.stack([mask.class_ids, mask.scores]).tobytes(), level=1)
    return PackedMask(data, (height, width), mask.stride_px)


def unpack_mask(packed: PackedMask) -> Mask:
    class_ids, scores = np.frombuffer(zlib.decompress(packed.data), np.uint8).reshape(2, *packed.cells_hw)
    return Mask(class_ids, scores, packed.stride_px)


class KeptMasks:
    """Packed masks in a temporary file that goes away with `close`; memory stays the same however many there are.

    Synchronization: one thread owns it.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="masks-")  # noqa: SIM115
        self._places: list[tuple[int, tuple[int, int], int]] = []

    def add(self, packed: PackedMask) -> None:
        self._places.append((len(packed.data), packed.cells_hw, packed.stride_px))
        self._file.write(packed.data)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Mask]:
        """In the order they were added; one pass at a time, and none while masks are added."""
        self._file.seek(0)
        for size_bytes, cells_hw, stride_px in self._places:
            yield unpack_mask(PackedMask(self._file.read(size_bytes), cells_hw, stride_px))
        self._file.seek(0, 2)

    def close(self) -> None:
        self._file.close()
