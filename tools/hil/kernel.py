"""Modules: gpio-sim built out of tree, those that the box loads, and an initramfs that finds its disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools.hil.debian import kernel_version
from tools.hil.workshop import BenchError, run

BOOT_MODULES = ("virtio_pci", "virtio_blk", "ext4")
BOX_MODULES = (*BOOT_MODULES, "virtio_console", "gpio-sim", "vivid", "xhci_pci", "ftdi_sio", "cdc_acm", "autofs4")
SIMULATOR_SOURCES = ("drivers/gpio/gpio-sim.c", "drivers/gpio/gpiolib.h", "kernel/irq/irq_sim.c")
# What gpio-sim.c is built from when the kernel has no irq_sim of its own; the replaced call is not exported to modules.
KBUILD = "obj-m := gpio-sim.o\ngpio-sim-y := gpio-sim-main.o irq_sim.o\n"
NOT_EXPORTED = ("handle_simple_irq(irq_to_desc(irqnum))", "generic_handle_irq(irqnum)")
INIT = """#!/bin/busybox sh
busybox=/bin/busybox
$busybox mount -t devtmpfs dev /dev
for module in /modules/*.ko; do $busybox insmod $module; done
until [ -b /dev/vda ] && [ -b /dev/vdb ]; do $busybox usleep 10000; done
$busybox mount -t ext4 /dev/vda /root
[ -e /root/unpacked ] || {{ $busybox tar -x -f /dev/vdb -C /root && $busybox touch /root/unpacked; }}
exec $busybox switch_root /root /lib/systemd/systemd
"""


def build_gpio_sim(kernel: Path) -> None:
    """Debian's kernels leave gpio-sim out: build it from their own source and put it beside the other modules."""
    version = kernel_version(kernel)
    folder = kernel / "tmp" / "gpio-sim"
    folder.mkdir(parents=True)
    _unpack_sources(kernel, folder)
    (folder / "Kbuild").write_text(KBUILD)
    run(["chroot", kernel, "make", "-C", f"/usr/src/linux-headers-{version}", "M=/tmp/gpio-sim", "modules"])
    updates = kernel / "lib" / "modules" / version / "updates"
    updates.mkdir(exist_ok=True)
    shutil.copy(folder / "gpio-sim.ko", updates)
    run(["chroot", kernel, "/sbin/depmod", version])


def _unpack_sources(kernel: Path, folder: Path) -> None:
    archives = list((kernel / "usr" / "src").glob("linux-source-*.tar.xz"))
    if len(archives) != 1:
        raise BenchError(f"{kernel}/usr/src holds the kernel sources {archives or 'none'}, expected one")
    patterns = [f"*/{name}" for name in SIMULATOR_SOURCES]
    flat = ["--transform=s,.*/,,", "--wildcards", "--no-wildcards-match-slash"]
    run(["tar", "-xJf", archives[0], "-C", folder, *flat[:2], *patterns])
    (folder / "gpio-sim.c").rename(folder / "gpio-sim-main.c")
    irq_sim = folder / "irq_sim.c"
    irq_sim.write_text(irq_sim.read_text().replace(*NOT_EXPORTED))


def module_files(kernel: Path, names: tuple[str, ...]) -> list[Path]:
    """The files of these modules and of all that they need, each after what it needs."""
    modprobe: list[str | Path] = ["chroot", kernel, "/sbin/modprobe", "-S", kernel_version(kernel), "--show-depends"]
    lines = [line for name in names for line in run([*modprobe, name]).splitlines()]
    files = [line.split()[1] for line in lines if line.startswith("insmod ")]
    return [kernel / file.lstrip("/") for file in dict.fromkeys(files)]


def copy_modules(kernel: Path, root: Path) -> None:
    """The modules that the box may load, where its modprobe looks for them."""
    version = kernel_version(kernel)
    for file in module_files(kernel, BOX_MODULES):
        target = root / file.relative_to(kernel)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(kernel / "lib" / "modules" / version / name, root / "lib" / "modules" / version / name)
    run(["chroot", root, "/sbin/depmod", version])


def build_initramfs(kernel: Path, target: Path) -> None:
    """A few MB: load the disk's driver, unpack the project from the second disk, hand over to systemd."""
    tree = target.with_name("initramfs.tree")
    shutil.rmtree(tree, ignore_errors=True)
    for folder in ("bin", "dev", "modules", "root"):
        (tree / folder).mkdir(parents=True)
    shutil.copy(kernel / "bin" / "busybox", tree / "bin")
    for number, file in enumerate(module_files(kernel, BOOT_MODULES)):
        shutil.copy(file, tree / "modules" / f"{number:02}-{file.name}")
    (tree / "init").write_text(INIT.format())
    (tree / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    busybox = kernel / "bin" / "busybox"
    run([busybox, "cpio", "-o", "-H", "newc", "-F", target], cwd=tree, stdin=names.encode())
