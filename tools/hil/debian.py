"""Debian's part: the bench's own programs, the kernel with what builds a module for it, and the box's root."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tools.hil.workshop import BenchError, remove, run

SUITE = "bookworm"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "ldd": "libc-bin",
}
KERNEL_PACKAGES = ("linux-image-amd64", "linux-headers-amd64", "linux-source", "make", "kmod", "busybox-static")
ROOT_PACKAGES = ("systemd", "systemd-sysv", "udev", "dbus", "kmod", "v4l-utils", "libgomp1", "libstdc++6", "procps")
APT_OPTIONS = (
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=APT::Install-Recommends "false"',
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)


def install_programs() -> None:
    """What the bench needs on this machine; nothing happens when all of it is there. Raises BenchError."""
    packages = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if not KEYRING.exists():
        packages.append("debian-archive-keyring")
    if os.geteuid() != 0:
        raise BenchError("the bench builds a root file system: run it as root")
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise BenchError(f"install {' '.join(packages)}, or run the bench on Debian or Ubuntu")
    apt_get = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"]
    run([*apt_get, "update"])
    run([*apt_get, "install", "-y", "--no-install-recommends", *packages])


def unpack_kernel(target: Path) -> None:
    """Debian's newest kernel, its headers, source and compiler, unpacked as a folder one can chroot into."""
    _bootstrap("extract", KERNEL_PACKAGES, target)
    run(["chroot", target, "/bin/busybox", "--install", "-s", "/bin"])  # sh, sed, awk … for the kernel's makefiles


def install_root(target: Path) -> None:
    """A small Debian with systemd."""
    _bootstrap("minbase", ROOT_PACKAGES, target)


def _bootstrap(variant: str, packages: tuple[str, ...], target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    remove(partial)
    include = "--include=" + ",".join(packages)
    run(["mmdebstrap", "--quiet", f"--variant={variant}", "--arch=amd64", *APT_OPTIONS, include, SUITE, partial])
    partial.rename(target)


def kernel_version(kernel: Path) -> str:
    """Of the only kernel in an unpacked tree."""
    versions = [path.name.removeprefix("vmlinuz-") for path in (kernel / "boot").glob("vmlinuz-*")]
    if len(versions) != 1:
        raise BenchError(f"{kernel}/boot holds the kernels {versions or 'none'}; remove it and run the bench again")
    return versions[0]
