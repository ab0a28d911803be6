"""The frame of a `.rknn` file, read before the runtime sees it: for which chip, by which toolkit, which tensors.

Layout, little endian: `RKNN`, u32 0, u64 version of the layout, u64 size of the network; from byte 64 on the network;
then u64 size of a description, and the description in JSON, which ends the file. The network itself is the vendor's own
form and is covered by the bundle's digests.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_runtime.errors import BundleError

MAGIC = b"RKNN"
LAYOUT_VERSION = 6
PLATFORM = "rk3588"
HEAD = struct.Struct("<4sIQQ")
NETWORK_START = 64
LENGTH = struct.Struct("<Q")
MAX_DESCRIPTION_BYTES = 1024 * 1024
ANSWER = "convert the network again (python -m tools repack --target rknn) and pack a new version"


@dataclass(frozen=True)
class RknnFile:
    """What a file says of itself. `inputs` and `outputs`: the sizes of each tensor, (1, C, H, W)."""

    toolkit_version: str
    platforms: tuple[str, ...]
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]


def read_rknn(data: bytes, where: str) -> RknnFile:
    """Raise BundleError for a file that is cut, of another layout, or that does not describe itself."""
    try:
        return _read(data)
    except (ValueError, KeyError, TypeError, IndexError, struct.error, RecursionError) as exc:
        raise BundleError(f"{where}: not an RKNN network to be trusted: {exc}; {ANSWER}") from exc


def check_rknn(
    data: bytes, version: str, tile: Sequence[int], answer: Sequence[int], where: str, platform: str = PLATFORM
) -> None:
    """Raise BundleError unless this is a network for `platform` by toolkit `version` with these two tensors."""
    found = read_rknn(data, where)
    if platform not in found.platforms:
        raise BundleError(f"{where}: made for {', '.join(found.platforms) or 'no chip'}, not for {platform}; {ANSWER}")
    if found.toolkit_version != version:
        raise BundleError(f"{where}: made by toolkit {found.toolkit_version}, the manifest says {version}; {ANSWER}")
    if (found.inputs, found.outputs) != ((tuple(tile),), (tuple(answer),)):
        raise BundleError(
            f"{where}: takes {_sizes(found.inputs)} and gives {_sizes(found.outputs)}, the manifest means "
            f"{_sizes([tile])} and {_sizes([answer])}; {ANSWER}"
        )


def _read(data: bytes) -> RknnFile:
    magic, zero, layout, network_bytes = HEAD.unpack_from(data)
    if magic != MAGIC or zero != 0:
        raise ValueError("it does not begin with RKNN")
    if layout != LAYOUT_VERSION:
        raise ValueError(f"layout {layout}, only {LAYOUT_VERSION} is known")
    at = NETWORK_START + network_bytes
    if at + LENGTH.size > len(data):
        raise ValueError(f"cut off: {len(data)} bytes, {at + LENGTH.size} at least belong to it")
    (size,) = LENGTH.unpack_from(data, at)
    if size != len(data) - at - LENGTH.size or size > MAX_DESCRIPTION_BYTES:
        raise ValueError(f"its description has {size} bytes, {len(data) - at - LENGTH.size} are there")
    description = json.loads(data[at + LENGTH.size :].decode("utf-8"))
    platforms = tuple(str(each) for each in description["target_platform"])
    inputs, outputs = (_tensors(description, side) for side in ("input", "output"))
    return RknnFile(str(description["version"]), platforms, inputs, outputs)


def _tensors(description: dict[str, Any], side: str) -> tuple[tuple[int, ...], ...]:
    sizes = {each["tensor_id"]: tuple(int(one) for one in each["size"]) for each in description["norm_tensor"]}
    return tuple(sizes[each["right_tensor_id"]] for each in description["graph"] if each["left"] == side)


def _sizes(tensors: Sequence[Sequence[int]]) -> str:
    return ", ".join("×".join(map(str, each)) for each in tensors) or "nothing"
