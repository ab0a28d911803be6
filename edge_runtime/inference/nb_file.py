"""The head of Paddle Lite's `.nb` files: read here, because the predictor answers a wrong file with abort() or garbage.

Layout, little endian: u16 meta version, 16 bytes opt version (NUL-terminated), u64 length of the topology, topology
(flatbuffer: names of ops and kernels), parameters. A kernel is written op/alias/TARGET/PRECISION/LAYOUT.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import BundleError

META_VERSION = 2
OPT_VERSIONS = ("v2.13",)
VERSION_FIELD = slice(2, 18)
TOPOLOGY_START = 26
KERNEL = re.compile(rb"([a-z0-9_]+)/(\w+)/(\d{1,3})/(\d{1,3})/(\d{1,3})\0")
TARGET_NAMES = {1: "host", 2: "x86", 4: "arm", 5: "opencl", 18: "nnadapter"}
NNADAPTER_DEVICES = ("rockchip_npu", "amlogic_npu", "verisilicon_timvx", "imagination_nna")
# The hardware a target is for, whose kernels its file must hold, and beside it the host's and these.
KERNEL_TARGETS = {
    "x86": ("x86", frozenset[str]()),
    "arm": ("arm", frozenset[str]()),
    "arm+fp16": ("arm", frozenset[str]()),
    "arm+int8": ("arm", frozenset[str]()),
    "opencl,arm": ("opencl", frozenset({"arm"})),
    **{f"{device},arm": ("nnadapter", frozenset({"arm"})) for device in NNADAPTER_DEVICES},
}
ANSWER = "convert the model again (python -m tools convert) and pack a new bundle"


@dataclass(frozen=True)
class Kernel:
    """One kernel the file asks for; `target` is one of `TARGET_NAMES` or the number of another one."""

    op: str
    alias: str
    target: str
    precision: int
    layout: int


@dataclass(frozen=True)
class NbHeader:
    """What an `.nb` file says of itself before its parameters."""

    meta_version: int
    opt_version: str
    kernels: tuple[Kernel, ...]


def read_nb_header(source: Path | bytes, where: str | None = None) -> NbHeader:
    """Read the head of a file or of its bytes; `where` names it in messages.

    Raises BundleError when it is unreadable, cut before the parameters, or of another meta version.
    """
    if isinstance(source, Path):
        where = where or str(source)
        source = _read(source)
    where = where or ".nb file"
    if len(source) < TOPOLOGY_START:
        raise BundleError(f"{where}: {len(source)} bytes are too few for an .nb file; {ANSWER}")
    (meta_version,) = struct.unpack_from("<H", source, 0)
    (topology_bytes,) = struct.unpack_from("<Q", source, 18)
    if meta_version != META_VERSION:
        raise BundleError(f"{where}: meta version {meta_version}, only {META_VERSION} is known; {ANSWER}")
    if topology_bytes > len(source) - TOPOLOGY_START:
        raise BundleError(
            f"{where}: cut off, the topology has {topology_bytes} bytes and the whole file {len(source)}; {ANSWER}"
        )
    topology = source[TOPOLOGY_START : TOPOLOGY_START + topology_bytes]
    return NbHeader(meta_version, _opt_version(source), tuple(map(_kernel, KERNEL.findall(topology))))


def check_nb(header: NbHeader, target: str, where: str = ".nb file") -> None:
    """Raise BundleError unless the predictor of `target` can be trusted with this file.

    Catches another opt, a graph without input or output, and kernels of another target, which the
    predictor would run without complaint and answer with garbage. Parameters are covered by the bundle's digests.
    """
    if not header.opt_version.startswith(OPT_VERSIONS):
        known = ", ".join(OPT_VERSIONS)
        raise BundleError(f"{where}: made by opt {header.opt_version!r}, known is {known}; {ANSWER}")
    missing = [op for op in ("feed", "fetch") if op not in {kernel.op for kernel in header.kernels}]
    if missing:
        raise BundleError(f"{where}: the graph has no {' and no '.join(missing)} op, the source was cut; {ANSWER}")
    _check_targets(header, target, where)


def nnadapter_device(target: str) -> str | None:
    """The device that NNAdapter must be told for this target; None for a target without NNAdapter."""
    device = target.split(",")[0]
    return device if device in NNADAPTER_DEVICES else None


def normalise_nb(data: bytes) -> bytes:
    """The same file with the unused bytes after the opt version zeroed; opt leaves chance there."""
    version = data[VERSION_FIELD].split(b"\0")[0]
    return data[: VERSION_FIELD.start] + version.ljust(16, b"\0") + data[VERSION_FIELD.stop :]


def _check_targets(header: NbHeader, target: str, where: str) -> None:
    if target not in KERNEL_TARGETS:
        raise BundleError(f"{where}: unknown target {target!r}; allowed: {'; '.join(KERNEL_TARGETS)}")
    found = {kernel.target for kernel in header.kernels}
    needed, allowed = KERNEL_TARGETS[target]
    if needed not in found or not found <= allowed | {needed, "host"}:
        kinds = ", ".join(sorted(found))
        raise BundleError(f"{where}: its kernels are for {kinds}, not for {target}; take the file made for {target}")


def _opt_version(data: bytes) -> str:
    return data[VERSION_FIELD].split(b"\0")[0].decode("ascii", errors="replace")


def _kernel(match: tuple[bytes, ...]) -> Kernel:
    op, alias, target, precision, layout = (part.decode() for part in match)
    return Kernel(op, alias, TARGET_NAMES.get(int(target), target), int(precision), int(layout))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise BundleError(f"{path}: {exc.strerror}; {ANSWER}") from exc
