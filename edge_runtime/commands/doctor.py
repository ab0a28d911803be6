"""`edge-runtime doctor`: what this box has, and what is missing for the daemon."""

from __future__ import annotations

import glob
import grp
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Column, Table

from edge_runtime.config import Settings, load_settings
from edge_runtime.config_camera import CameraSettings, FolderCameraSettings, OpenCvCameraSettings
from edge_runtime.engines import PACKAGES as PREDICTORS
from edge_runtime.engines import engine_version
from edge_runtime.errors import CameraError, EdgeRuntimeError, InferenceError, SignalError
from edge_runtime.fastest_engine import Use, told_engine
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.inference.npu import find_npu
from edge_runtime.processors import check_online
from edge_runtime.signal_io.serial_address import find_device, list_serial_ports

PACKAGES = ("numpy", "opencv-python-headless", "pyserial", "pymodbus", "gpiod", "paho-mqtt", "pydantic")
GROUPS = ("video", "dialout", "gpio")
MARKS = {True: "[green]ok[/]", False: "[red]missing[/]", None: "[yellow]note[/]"}


@dataclass(frozen=True)
class Observation:
    """`well` None: worth knowing, not wrong by itself."""

    topic: str
    well: bool | None
    text: str


def diagnose(config: Path | None) -> int:
    """Print what is here; 1 when something that is needed is missing. Raises ConfigError."""
    settings = load_settings(config) if config else None
    observations = [*_machine(), *_packages(), *_backends(), *_devices(), *(_needs(settings) if settings else [])]
    table = Table("what", "", Column("found", overflow="fold"))
    for seen in observations:
        table.add_row(seen.topic, MARKS[seen.well], seen.text)
    Console().print(table)
    return int(any(seen.well is False for seen in observations))


def _machine() -> Iterator[Observation]:
    yield Observation(
        "machine", None, f"{platform.machine()}, {_board()}, {os.cpu_count()} cores, Linux {platform.release()}"
    )
    memory = psutil.virtual_memory()
    yield Observation(
        "memory", memory.available > 500e6, f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"
    )
    disk = shutil.disk_usage("/")
    yield Observation("disk", disk.free > 1e9, f"{disk.free / 1e9:.1f} of {disk.total / 1e9:.1f} GB free")
    here = sys.version_info[:2]
    yield Observation("python", here == (3, 10), f"{platform.python_version()} (3.10 is needed)")


def _board() -> str:
    try:
        return Path("/proc/device-tree/model").read_text().strip("\0\n")
    except OSError:
        return "no device tree"


def _packages() -> Iterator[Observation]:
    for name in PACKAGES:
        try:
            yield Observation(f"package {name}", True, version(name))
        except PackageNotFoundError:
            yield Observation(f"package {name}", False, "not installed")


def _backends() -> Iterator[Observation]:
    versions = {backend: engine_version(backend) for backend in PREDICTORS}
    for backend, found in versions.items():
        yield Observation(f"backend {backend}", found is not None or None, found or "not installed")
    if not any(versions.values()):
        yield Observation("backend", False, "no model can run: install the extra lite, onnx or openvino")
    npu = find_npu()
    yield Observation("npu", None if npu.missing else True, str(npu))


def _devices() -> Iterator[Observation]:
    ports = list_serial_ports()
    by_id = glob.glob("/dev/serial/by-id/*")
    yield Observation("serial ports", bool(ports) or None, ", ".join(ports + by_id) or "none")
    yield _device_files("cameras", "/dev/video*")
    yield _device_files("gpio chips", "/dev/gpiochip*")
    names = [_group_name(gid) for gid in os.getgroups()]
    if os.geteuid() == 0:
        yield Observation("groups", None, "root: no group is needed")
    else:
        absent = [name for name in GROUPS if name not in names]
        text = f"not in {', '.join(absent)}: sudo usermod -aG {','.join(absent)} $USER" if absent else ", ".join(GROUPS)
        yield Observation("groups", None if absent else True, text)


def _device_files(topic: str, pattern: str) -> Observation:
    paths = sorted(glob.glob(pattern))
    closed = [path for path in paths if not os.access(path, os.R_OK | os.W_OK)]
    if closed:
        return Observation(topic, False, f"no permission for {', '.join(closed)}")
    return Observation(topic, bool(paths) or None, ", ".join(paths) or "none")


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _needs(settings: Settings) -> Iterator[Observation]:
    """What the settings file asks of this machine."""
    if path := _camera_path(settings.camera):
        yield _attempt("camera", partial(_usable, path))
    for folder in dict.fromkeys(entry.bundle for entry in settings.numbered_recipes.values()):
        yield _attempt("model", partial(_model, settings, folder))
    if settings.inspection.cpu_affinity:
        yield _attempt("processors", partial(_processors, settings))
    if settings.serial and settings.serial.driver == "serial":
        yield _attempt("serial port", partial(find_device, settings.serial.port))
    if settings.modbus and settings.modbus.mode == "rtu":
        yield _attempt("modbus port", partial(find_device, settings.modbus.serial_port))
    if settings.gpio and settings.gpio.driver == "gpio":
        yield _attempt("gpio chip", partial(_chip_path, settings.gpio.chip))
    if settings.mqtt is not None:
        yield _attempt("mqtt files", lambda: _mqtt(settings))
        if settings.mqtt.username is not None and settings.mqtt.tls is None:
            yield Observation("mqtt", None, "the password goes over the network in the clear: add [mqtt.tls]")
    folder = settings.station.data_dir
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    yield Observation("data folder", os.access(parent, os.W_OK), str(folder))


def _attempt(topic: str, look: Callable[[], str]) -> Observation:
    try:
        return Observation(topic, True, look())
    except EdgeRuntimeError as exc:
        return Observation(topic, False, str(exc))


def _camera_path(camera: CameraSettings) -> str:
    """The device or folder that the camera's pictures come from; empty where no path tells it."""
    if isinstance(camera, FolderCameraSettings):
        return str(camera.path)
    source = camera.source if isinstance(camera, OpenCvCameraSettings) else ""
    device = f"/dev/video{source}" if source.isdecimal() else source
    return device if device.startswith("/") else ""


def _usable(path: str) -> str:
    if not os.access(path, os.R_OK):
        raise CameraError(f"{path}: does not exist, or this user may not read it")
    return path


def _model(settings: Settings, folder: Path) -> str:
    bundle, backend = load_bundle(folder), settings.inspection.backend
    if backend in PREDICTORS and engine_version(backend) is None:
        raise InferenceError(f"inspection.backend {backend} is not installed")
    if backend == "rknn" and (npu := find_npu()).missing:
        raise InferenceError(str(npu))
    use = Use.of(settings, folder)
    return f"{bundle.model_id}, {told_engine(settings.inspection, bundle, use, settings.station.data_dir)}"


def _processors(settings: Settings) -> str:
    check_online(settings.inspection.cpu_affinity)
    return " | ".join(settings.inspection.cpu_affinity)


def _mqtt(settings: Settings) -> str:
    if settings.mqtt is None:
        return "none"
    settings.mqtt.check_files()
    return "can be read by this user"


def _chip_path(chip: str) -> str:
    from edge_runtime.signal_io.gpio import find_chip

    path = find_chip(chip)
    if not os.access(path, os.R_OK | os.W_OK):
        raise SignalError(f"{path}: does not exist, or this user may not use it")
    return path
