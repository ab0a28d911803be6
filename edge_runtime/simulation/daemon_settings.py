"""Settings for the simulated line's daemon: a fitting set, or an integrator's own with the hardware replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from edge_runtime.config import Settings
from edge_runtime.errors import ConfigError
from edge_runtime.interfaces import Input, Output
from edge_runtime.simulation.plan import RunWish

Mode = Literal["delay", "encoder"]
DEBOUNCE_US = 1000
PULSE_SHARE, MIN_GAP_SHARE, DEADLINE_SHARE, TOLERANCE_SHARE = 0.3, 0.5, 0.55, 0.2
HEARTBEAT_MS = 100
KEPT_SECTIONS = ("line", "ejection", "stop", "serial")
SIMULATED = frozenset({"trigger", "encoder_a", "encoder_b", "eye"})
REPLACED_OF_SERIAL = frozenset({"journal", "protocol", "ascii", "rs485"})
CONFIG_NAME, SCRIPT_NAME, CABLE_NAME = "config.toml", "belt.json", "tty"


def pulse_ms(wish: RunWish) -> float:
    """A reject pulse that is over before the next part comes."""
    return round(PULSE_SHARE * 1000 / wish.rate_hz, 3)


def best_delay_ms(wish: RunWish, pulse_ms: float, debounce_us: float) -> float:
    """From the stamped edge to a pulse whose middle meets the part's."""
    return round(1000 * wish.transit_s - debounce_us / 1000 - pulse_ms / 2, 3)


def best_pulses(wish: RunWish, edges_per_pulse: int) -> int:
    """Encoder edges from the front edge at the photo-eye until the part's centre is in the ejector's first half.

    Not half a pulse ahead: where the belt stops, a pulse that began too early would be over too early.
    """
    geometry = wish.geometry()
    travel_mm = geometry.to_ejector_mm - geometry.ejector_mm / 4
    return round(travel_mm * wish.pulses_per_mm * edges_per_pulse)


def fitting_settings(wish: RunWish, mode: Mode, trigger: Literal["gpio", "serial"]) -> dict[str, Any]:
    """Every section that the hardware does not fill, so that no part is missed or wrongly thrown out.

    Raises ConfigError for a belt on which parts are too far apart for it.
    """
    if MIN_GAP_SHARE * wish.pitch_mm > wish.eye_to_ejector_mm:
        raise ConfigError(
            f"--eye-to-ejector {wish.eye_to_ejector_mm:g} is less than half the distance of two parts, --speed / "
            f"--rate = {wish.pitch_mm:g} mm: take a longer way, more --rate or less --speed"
        )
    quadrature = any(kind.name == "belt_reverse" for kind in wish.faults)
    edges_per_pulse = 4 if quadrature else 2
    way = _delays(wish) if mode == "delay" else _pulses(wish, edges_per_pulse)
    inputs: dict[str, Any] = {Input.TRIGGER.value: {"line": 10, "debounce_us": DEBOUNCE_US}}
    if mode == "encoder":
        inputs[Input.ENCODER_A.value] = {"line": 11, "debounce_us": 0}
    if mode == "encoder" and quadrature:
        inputs[Input.ENCODER_B.value] = {"line": 12, "debounce_us": 0}
    if wish.second_eye_mm:
        inputs[Input.EYE.value] = {"line": 13, "debounce_us": DEBOUNCE_US}
    lines = {Output.OK: 1, Output.REJECT: 2, Output.FAULT: 3, Output.HEARTBEAT: 4}
    return {
        "line": {
            "trigger": trigger,
            "deadline_ms": round(DEADLINE_SHARE * 1000 * wish.transit_s, 1),
            "deadline_guard_ms": 10,
            "capture_timeout_ms": 200,
            "camera_hang_timeout_ms": 800,
            "ring_slots": 12,
            "heartbeat_ms": HEARTBEAT_MS,
            "restarts_max": 1000,
            "restarts_window_s": 60,
            "realtime_priority": 10,
        },
        "ejection": {"mode": mode, **way},
        "serial": {"ack_timeout_ms": 100},
        "gpio": {
            "inputs": inputs,
            "outputs": {output.value: {"line": line, "pulse_ms": pulse_ms(wish)} for output, line in lines.items()},
        },
    }


def _delays(wish: RunWish) -> dict[str, float]:
    """The way to the ejector in milliseconds."""
    pitch_ms = 1000 / wish.rate_hz
    way = {
        "delay_ms": best_delay_ms(wish, pulse_ms(wish), DEBOUNCE_US),
        "min_gap_ms": MIN_GAP_SHARE * pitch_ms,
    }
    if wish.second_eye_mm:
        way |= {
            "eye_ms": 1000 * wish.second_eye_mm / wish.speed_mm_s,
            "eye_tolerance_ms": TOLERANCE_SHARE * pitch_ms,
        }
    return way


def _pulses(wish: RunWish, edges_per_pulse: int) -> dict[str, int]:
    """The way to the ejector in encoder edges."""
    edges_per_mm = edges_per_pulse * wish.pulses_per_mm
    way = {
        "pulses": best_pulses(wish, edges_per_pulse),
        "min_gap_pulses": round(MIN_GAP_SHARE * wish.pitch_mm * edges_per_mm),
    }
    if wish.second_eye_mm:
        way |= {
            "eye_pulses": round(wish.second_eye_mm * edges_per_mm),
            "eye_tolerance_pulses": round(TOLERANCE_SHARE * wish.pitch_mm * edges_per_mm),
        }
    return way


def settings_of(settings: Settings, file: Path) -> dict[str, Any]:
    """An integrator's own sections about line, ejection and wires. Raises ConfigError where nothing can be checked."""
    if settings.line.trigger not in ("gpio", "serial"):
        raise ConfigError(f"{file}: line.trigger is {settings.line.trigger}; simulated are gpio and serial")
    if settings.gpio is None or Output.REJECT not in settings.gpio.outputs:
        raise ConfigError(f"{file}: [gpio.outputs.reject] is missing; without it there is no ejector to simulate")
    if settings.ejection is None:
        raise ConfigError(f"{file}: [ejection] is missing; it says when a part is at the ejector")
    data: dict[str, Any] = settings.model_dump(mode="json", exclude_none=True)
    gpio = {**data["gpio"], "inputs": {key: each for key, each in data["gpio"]["inputs"].items() if key in SIMULATED}}
    return {name: data[name] for name in KEPT_SECTIONS if name in data} | {"gpio": gpio}


def with_simulated_hardware(
    sections: dict[str, Any], gpio: dict[str, Any], folder: Path, bundle: Path
) -> dict[str, Any]:
    """The whole settings file: these sections on a belt camera, the given [gpio] and a cable in `folder`."""
    serial = {**sections.get("serial", {}), "driver": "serial", "port": str(folder / CABLE_NAME)}
    if sections["line"]["trigger"] != "gpio":  # the controller's photo-eye: it debounces that itself
        gpio = {**gpio, "inputs": {key: each for key, each in gpio["inputs"].items() if key != Input.TRIGGER.value}}
    return {
        **sections,
        "station": {"name": "simulation", "data_dir": "data"},
        "camera": {"driver": "belt", "script": SCRIPT_NAME},
        "inspection": {"bundle": str(bundle), "backend": "scripted", "workers": 2, "scripted_predict_ms": 5},
        "archive": {"keep_ok_every": 0, "picture_budget_mb": 50, "free_mb_min": 0},
        "recipe": {"name": "simulation"},
        "serial": {key: value for key, value in serial.items() if key not in REPLACED_OF_SERIAL},
        "gpio": gpio,
    }
