"""Settings that the daemon runs with, and that are hardly meant."""

from __future__ import annotations

import os
from collections.abc import Iterator

from edge_runtime.config import Settings
from edge_runtime.config_camera import FolderCameraSettings
from edge_runtime.config_signals import ModbusSettings
from edge_runtime.interfaces import Input

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def notes_on(settings: Settings) -> Iterator[str]:
    """One sentence each: where, what, and what to do."""
    camera, modbus, stop = settings.camera, settings.modbus, settings.stop
    if isinstance(camera, FolderCameraSettings) and not os.path.exists(camera.path):
        yield f"camera.path: {camera.path} does not exist (yet)"
    if (stop.consecutive_rejects or stop.reject_rate) and not _can_reset(settings):
        yield "stop: only a restart takes a demanded stop back: wire gpio.inputs.reset, or add [serial] or [modbus]"
    crowded = [index for index in range(settings.inspection.workers) if _is_crowded(settings, index)]
    if crowded:
        yield f"inspection.cpu_affinity: worker {crowded[0]} has more threads than processors; they wait for each other"
    if len(settings.numbered_recipes) > 1 and not _can_select(settings):
        yield "recipes: nothing selects one of them: add [serial], [modbus], gpio.inputs.recipe_0 or [recipe_code]"
    if modbus is not None and _listens_for_nobody(modbus):
        yield "modbus: this machine alone may connect: name the controller in modbus.allow_write"


def _is_crowded(settings: Settings, index: int) -> bool:
    processors = settings.inspection.processors_of(index)
    return 0 < len(processors) < settings.inspection.threads


def _listens_for_nobody(modbus: ModbusSettings) -> bool:
    is_open = modbus.mode == "tcp" and modbus.host not in LOOPBACK
    return is_open and modbus.allow_read is None and modbus.allow_write is None


def _can_reset(settings: Settings) -> bool:
    serial, gpio = settings.serial, settings.gpio
    by_serial = serial is not None and (serial.ascii is None or bool(serial.ascii.reset))
    by_line = gpio is not None and Input.RESET in gpio.inputs
    return by_serial or by_line or settings.modbus is not None


def _can_select(settings: Settings) -> bool:
    serial, gpio = settings.serial, settings.gpio
    by_serial = serial is not None and (serial.ascii is None or bool(serial.ascii.recipe))
    by_lines = gpio is not None and bool(gpio.recipe_bits)
    return by_serial or by_lines or settings.modbus is not None or settings.recipe_code is not None
