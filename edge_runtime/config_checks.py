"""What the sections about wires must not say together. Each function raises ValueError with what is wrong and why."""

from __future__ import annotations

from edge_runtime.config_signals import EjectionSettings, GpioSettings, ModbusSettings, SerialSettings
from edge_runtime.interfaces import Input, Output

PERMISSIONS = (Output.OK, Output.READY, Output.RESULT_VALID, Output.HEARTBEAT)
ENCODER_DEBOUNCE_US_MAX = 100


def check_gpio(gpio: GpioSettings, trigger: str, ejection: EjectionSettings | None) -> None:
    """Lines that contradict each other, or that nobody would look at."""
    _each_has_its_own_line(gpio)
    for output in PERMISSIONS:
        if output in gpio.outputs and gpio.outputs[output].safe_active:
            raise ValueError(
                f"gpio.outputs.{output.value}: with safe_active = true it would stand while the box is down"
            )
    if Input.TRIGGER in gpio.inputs and trigger != "gpio":
        raise ValueError(
            f"gpio.inputs.trigger would start parts beside line.trigger '{trigger}': remove it, or set line.trigger "
            "to 'gpio'"
        )
    if Input.EYE in gpio.inputs and (ejection is None or not ejection.has_eye):
        raise ValueError("gpio.inputs.eye needs ejection.eye_ms or eye_pulses: its way from the trigger is not known")
    _encoder_is_sound(gpio)


def _each_has_its_own_line(gpio: GpioSettings) -> None:
    users: dict[int | str, str] = {}
    named = [(f"outputs.{name.value}", wiring.line) for name, wiring in gpio.outputs.items()]
    named += [(f"inputs.{name.value}", wiring.line) for name, wiring in gpio.inputs.items()]
    for who, line in named:
        if line in users:
            raise ValueError(f"gpio.{users[line]} and gpio.{who} both have line {line!r}: give each one of its own")
        users[line] = who


def _encoder_is_sound(gpio: GpioSettings) -> None:
    if Input.ENCODER_B in gpio.inputs and Input.ENCODER_A not in gpio.inputs:
        raise ValueError("gpio.inputs.encoder_b needs gpio.inputs.encoder_a; an encoder with one channel is encoder_a")
    for channel in (Input.ENCODER_A, Input.ENCODER_B):
        wiring = gpio.inputs.get(channel)
        if wiring is not None and wiring.debounce_us > ENCODER_DEBOUNCE_US_MAX:
            raise ValueError(
                f"gpio.inputs.{channel.value}: debounce_us {wiring.debounce_us} swallows the pulses of a fast belt "
                f"and nobody notices; set debounce_us = 0 (at most {ENCODER_DEBOUNCE_US_MAX})"
            )


def check_ejection(ejection: EjectionSettings, trigger: str) -> None:
    """A photo-eye that would confuse parts, and triggers that would never be answered."""
    _, min_gap, _, tolerance = ejection.in_axis_units()
    if ejection.has_eye and not 0 < 2 * tolerance < min_gap:
        raise ValueError(
            "ejection: the eye needs a tolerance above 0 and below half of min_gap, or it would take one part for "
            "another, or none for any"
        )
    if ejection.on_doubled == "ignore" and trigger != "gpio":
        raise ValueError(
            f"ejection.on_doubled 'ignore' would leave a trigger of line.trigger '{trigger}' without any answer: "
            "set 'reject'"
        )


def check_serial(serial: SerialSettings, trigger: str, modbus: ModbusSettings | None) -> None:
    if serial.ascii is not None and trigger == "serial" and not serial.ascii.trigger:
        raise ValueError("line.trigger 'serial' needs a template serial.ascii.trigger: no message would be a part")
    if modbus is not None and modbus.mode == "rtu" and serial.port == modbus.serial_port:
        raise ValueError(f"serial.port and modbus.serial_port are both {serial.port!r}: give each a port of its own")
