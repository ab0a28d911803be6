"""The Python that runs the bench, copied into the box, with the packages that the daemon needs."""

from __future__ import annotations

import configparser
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from tools.hil.workshop import REPOSITORY, run

PREFIX = Path("opt/python3.10")
VENV = Path("opt/edge-runtime/bench")
SITE_PACKAGES = VENV / "lib" / "python3.10" / "site-packages"
FOR_TESTS = ("pytest", "pytest-timeout", "hypothesis")
NOT_COPIED = ("test", "tests", "idlelib", "turtledemo", "site-packages", "dist-packages", "config-3.10-*")
LAUNCHER = """#!/opt/edge-runtime/venv/bin/python
import sys
from edge_runtime.__main__ import main
sys.exit(main())
"""


def copy_interpreter(root: Path) -> None:
    """Executable, standard library and the shared libraries that the box lacks, under /opt/python3.10.

    The C library is the box's own; the interpreter's build must not need a newer one.
    """
    prefix = root / PREFIX
    (prefix / "bin").mkdir(parents=True)
    executable = Path(sys.executable).resolve()
    shutil.copy(executable, prefix / "bin" / "python3.10")
    stdlib = prefix / "lib" / "python3.10"
    shutil.copytree(sysconfig.get_path("stdlib"), stdlib, ignore=shutil.ignore_patterns(*NOT_COPIED))
    (stdlib / "site-packages").mkdir()
    for library in _libraries([executable, *stdlib.rglob("*.so")]):
        if not (root / "usr" / "lib" / "x86_64-linux-gnu" / library.name).exists():
            shutil.copy(library, prefix / "lib")
    (root / "etc" / "ld.so.conf.d" / "python.conf").write_text(f"/{PREFIX}/lib\n")
    run(["chroot", root, "/sbin/ldconfig"])


def _libraries(files: list[Path]) -> Iterator[Path]:
    text = run(["ldd", *files])
    yield from sorted({Path(path) for path in re.findall(r"=> (/\S+)", text)})


def requirements() -> list[str]:
    """What setup.cfg asks for on the device, and pytest; the project's own code comes with each run."""
    settings = configparser.ConfigParser()
    settings.read(REPOSITORY / "setup.cfg")
    listed = settings["options"]["install_requires"] + settings["options.extras_require"]["lite"]
    return [line for line in listed.splitlines() if line and not line.startswith("#")] + list(FOR_TESTS)


def install_packages(root: Path) -> None:
    """The environment of docs/install.md, made from outside: `edge-runtime`, what it needs, and pytest."""
    (root / VENV / "bin").mkdir(parents=True)
    site_packages = root / SITE_PACKAGES
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--target", site_packages, *requirements()])
    (root / VENV / "pyvenv.cfg").write_text(f"home = /{PREFIX}/bin\ninclude-system-site-packages = false\n")
    for name in ("python", "python3.10"):
        (root / VENV / "bin" / name).symlink_to(f"/{PREFIX}/bin/python3.10")
    launcher = root / VENV / "bin" / "edge-runtime"
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    (root / VENV.parent / "venv").symlink_to(VENV.name)
