"""The box's disk, built once, and the project on a second one, built for each run."""

from __future__ import annotations

import compileall
import shutil
import tarfile
from pathlib import Path

from tools.hil import debian, interpreter, kernel
from tools.hil.workshop import REPOSITORY, built, digest_of, run

DISK_BYTES = 3 * 1024**3
AGENT_UNIT = """[Unit]
Description=Does what the bench asks for
[Service]
WorkingDirectory=/opt/hil
Environment=PYTHONPATH=/opt/hil PYTHONDONTWRITEBYTECODE=1
ExecStart=/opt/edge-runtime/venv/bin/python -m tools.hil.guest.agent
Restart=always
[Install]
WantedBy=multi-user.target
"""
# Where docs/install.md puts the project's files, and what the bench itself needs in the box.
FILES = {
    "edge_runtime": f"{interpreter.SITE_PACKAGES}/edge_runtime",
    "systemd/edge-runtime.service": "etc/systemd/system/edge-runtime.service",
    "systemd/edge-runtime.sysusers": "usr/lib/sysusers.d/edge-runtime.conf",
    "systemd/60-edge-runtime.rules": "etc/udev/rules.d/60-edge-runtime.rules",
    "opt_models/board-unet": "opt/edge-runtime/models/board-unet",
    "setup.cfg": "opt/hil/setup.cfg",
    "tests/conftest.py": "opt/hil/tests/conftest.py",
    "tests/signal_io": "opt/hil/tests/signal_io",
    "tools/__init__.py": "opt/hil/tools/__init__.py",
    "tools/hil/__init__.py": "opt/hil/tools/hil/__init__.py",
    "tools/hil/guest": "opt/hil/tools/hil/guest",
}


def prepare(folder: Path) -> tuple[Path, Path, Path]:
    """Kernel, initramfs and disk image in `folder`; whatever is there already is taken. Needs root and a network."""
    debian.install_programs()
    kernel_key = digest_of(debian.SUITE, debian.KERNEL_PACKAGES, Path(kernel.__file__).read_text())
    tree = built(folder / "kernel", kernel_key, _build_kernel)
    root_key = digest_of(kernel_key, debian.ROOT_PACKAGES, interpreter.requirements(), *_own_sources())
    disk = built(folder / "disk.img", root_key, lambda target: _build_disk(tree, target))
    initramfs = built(folder / "initramfs", kernel_key, lambda target: kernel.build_initramfs(tree, target))
    return tree / "boot" / f"vmlinuz-{debian.kernel_version(tree)}", initramfs, disk


def _own_sources() -> list[str]:
    return [Path(file).read_text() for file in (interpreter.__file__, debian.__file__)] + [AGENT_UNIT]


def _build_kernel(target: Path) -> None:
    debian.unpack_kernel(target)
    kernel.build_gpio_sim(target)


def _build_disk(tree: Path, target: Path) -> None:
    root = target.with_name("root")
    built(root, "", debian.install_root) if not root.exists() else None
    interpreter.copy_interpreter(root)
    interpreter.install_packages(root)
    kernel.copy_modules(tree, root)
    _settle(root)
    run(["mke2fs", "-q", "-t", "ext4", "-d", root, target, f"{DISK_BYTES // 1024}k"])
    shutil.rmtree(root)


def _settle(root: Path) -> None:
    """What would ask or wait at the first boot, and the bench's own service."""
    (root / "etc" / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "etc" / "hostname").write_text("box\n")
    (root / "etc" / "fstab").write_text("")
    (root / "etc" / "edge-runtime").mkdir()
    unit = root / "etc" / "systemd" / "system" / "hil-agent.service"
    unit.write_text(AGENT_UNIT)
    wants = unit.parent / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / unit.name).symlink_to(f"../{unit.name}")


def write_project(target: Path) -> None:
    """A tar archive of the project as it stands, laid out as it is installed; the box's second disk."""
    compileall.compile_dir(REPOSITORY / "edge_runtime", quiet=1)  # as pip does; the service's user may not
    with tarfile.open(target, "w") as archive:
        for source, place in FILES.items():
            archive.add(REPOSITORY / source, place, filter=_installed)
    with open(target, "ab") as file:
        file.truncate(-(-file.tell() // 4096) * 4096)


def _installed(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info
