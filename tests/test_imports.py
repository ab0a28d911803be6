"""The process that holds the wire stays small: nothing slow or native is loaded into it but the port drivers."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PREDICTORS = ("paddlelite", "onnxruntime", "openvino")
HEAVY = ("numpy", "cv2", *PREDICTORS, "paddle", "rich", "typer", "sqlite3", "paho", "starlette", "uvicorn")
BUNDLES = sorted(path.parent for path in (REPOSITORY / "opt_models").glob("*/*/manifest.json"))

BUILD_LINE = """
import sys
from pathlib import Path
from edge_runtime import app, config
line = app.build_line(config.load_settings(Path(sys.argv[1])))
assert type(line).__name__ == "Line"
print(*sorted(sys.modules))
"""
PORTS = """
[serial]
port = "/dev/serial/by-id/none"

[mqtt]
host = "broker"

[line]
trigger = "gpio"

[gpio.outputs.ok]
line = 1

[gpio.inputs.trigger]
line = 2
"""


def settings_text(bundle: Path, camera: str, ports: str) -> str:
    return f'[camera]\n{camera}\n[inspection]\nbundle = "{bundle}"\n{ports}'


def modules_of(script: str, *arguments: object) -> list[str]:
    """The modules that a fresh interpreter has loaded when the script prints them."""
    command = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("ports", ["", PORTS], ids=["no ports", "real ports"])
@pytest.mark.parametrize(
    "camera",
    ['driver = "synthetic"', 'driver = "folder"\npath = "pictures"', 'driver = "opencv"\nsource = "/dev/video0"'],
    ids=["synthetic", "folder", "opencv"],
)
def test_the_line_loads_no_arithmetic_no_pictures_and_no_pages(tmp_path, camera, ports):
    (tmp_path / "settings.toml").write_text(settings_text(BUNDLES[0], camera, ports))
    modules = modules_of(BUILD_LINE, tmp_path / "settings.toml")
    assert "edge_runtime.runtime.line" in modules
    assert ("serial" in modules, "gpiod" in modules) == (bool(ports), bool(ports))
    assert [name for name in HEAVY if name in modules] == []


def test_the_guard_loads_only_its_ports():
    modules = modules_of("import edge_runtime.child_program, edge_runtime.runtime.guard, sys; print(*sys.modules)")
    assert [name for name in HEAVY if name in modules] == []


def test_the_field_bus_loads_only_its_protocol():
    modules = modules_of("import edge_runtime.child_program, edge_runtime.runtime.fieldbus, sys; print(*sys.modules)")
    assert [name for name in HEAVY if name in modules] == []


def test_the_line_does_not_load_the_field_bus_library(tmp_path):
    (tmp_path / "settings.toml").write_text(settings_text(BUNDLES[0], 'driver = "synthetic"', "[modbus]\n"))
    modules = modules_of(BUILD_LINE, tmp_path / "settings.toml")
    assert "edge_runtime.runtime.field_wire" in modules
    assert [name for name in ("pymodbus", "asyncio", *HEAVY) if name in modules] == []


@pytest.mark.parametrize("name", ["cv2", *PREDICTORS])
def test_the_command_line_loads_what_is_native_only_when_it_is_needed(name):
    assert name not in modules_of("import edge_runtime.__main__, sys; print(*sys.modules)")
