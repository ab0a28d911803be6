"""What a box has of Rockchip's NPU: its runtime library, its device, its driver. Looks at files alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LIBRARIES = (
    "usr/lib/librknnrt.so",
    "usr/lib64/librknnrt.so",
    "usr/lib/aarch64-linux-gnu/librknnrt.so",
    "usr/local/lib/librknnrt.so",
)
# The vendor's kernel: a device of its own, or a render node whose driver is called RKNPU.
OWN_DEVICE = "dev/rknpu"
RENDER_DRIVERS = "sys/class/drm/renderD*/device/driver"
DRIVER_NAME = "RKNPU"
VERSIONS = ("sys/kernel/debug/rknpu/version", "proc/rknpu/version")
MODEL = "proc/device-tree/compatible"
CHIP = "rk3588"


@dataclass(frozen=True)
class Npu:
    """`chip`: whether the device tree names an RK3588. None: not there, or, for `driver`, not to be read."""

    chip: bool
    library: str | None
    device: str | None
    driver: str | None

    @property
    def missing(self) -> tuple[str, ...]:
        """What stands between this box and its NPU, and what to do about each."""
        return tuple(self._missing())

    def _missing(self) -> Iterator[str]:
        if not self.chip:
            yield "no RK3588: its device tree is not that of one"
            return
        if self.device is None:
            yield "no NPU device (/dev/rknpu, or a render node of driver RKNPU): use the vendor's kernel"
        if self.library is None:
            yield "no librknnrt.so in /usr/lib: copy it from the vendor's rknpu2, of the toolkit's version"

    def __str__(self) -> str:
        if self.missing:
            return "; ".join(self.missing)
        return f"{self.device}, {self.library}, driver {self.driver or 'of unknown version (only root may read it)'}"


def find_npu(root: Path = Path("/")) -> Npu:
    """Never raises: what cannot be read is not there."""
    library = next((f"/{name}" for name in LIBRARIES if (root / name).is_file()), None)
    return Npu(CHIP.encode() in _bytes(root / MODEL), library, _device(root), _driver(root))


def _device(root: Path) -> str | None:
    if (root / OWN_DEVICE).exists():
        return f"/{OWN_DEVICE}"
    for link in sorted(root.glob(RENDER_DRIVERS)):
        if link.resolve().name.upper() == DRIVER_NAME:
            return f"/dev/dri/{link.parent.parent.name}"
    return None


def _driver(root: Path) -> str | None:
    texts = (_bytes(root / name).decode("utf-8", errors="replace").strip() for name in VERSIONS)
    return next((text for text in texts if text), None)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
