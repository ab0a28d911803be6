"""What the sections about wires must not say together. Each function raises ValueError with what is wrong and why."""

from __future__ import annotations

from edge_runtime.config_signals import EjectionSettings, GpioSettings, ModbusSettings, SerialSettings
from edge_runtime.interfaces import ENCODER_CHANNELS, Input, Output

PERMISSIONS = (Output.OK, Output.READY, Output.RESULT_VALID, Output.HEARTBEAT)
ENCODER_DEBOUNCE_US_MAX = 100
_EJECTOR = frozenset({Output.OK, Output.REJECT})


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
    for channel in ENCODER_CHANNELS:
        wiring = gpio.inputs.get(channel)
        if wiring is not None and wiring.debounce_us > ENCODER_DEBOUNCE_US_MAX:
            raise ValueError(
                f"gpio.inputs.{channel.value}: debounce_us {wiring.debounce_us} swallows the pulses of a fast belt "
                f"and nobody notices; set debounce_us = 0 (at most {ENCODER_DEBOUNCE_US_MAX})"
            )


def check_ejection(ejection: EjectionSettings, gpio: GpioSettings | None, trigger: str, deadline_ms: float) -> None:
    """Wires that are missing, verdicts and pulses that would come too late, an eye that would confuse parts."""
    if trigger == "free_run":
        raise ValueError("[ejection] needs triggers: set line.trigger to gpio, serial or modbus")
    wiring = gpio or GpioSettings()
    _ejector_is_wired(ejection, wiring)
    _verdicts_come_in_time(ejection, wiring, deadline_ms)
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


def _ejector_is_wired(ejection: EjectionSettings, gpio: GpioSettings) -> None:
    if gpio.verdicts == "handshake":
        raise ValueError("gpio.verdicts 'handshake' leaves the ejection to the controller: remove [ejection]")
    if not _EJECTOR & gpio.outputs.keys():
        raise ValueError("[ejection] needs [gpio.outputs.ok] or [gpio.outputs.reject]: nothing would reach the ejector")
    if ejection.mode == "encoder" and Input.ENCODER_A not in gpio.inputs:
        raise ValueError("ejection.mode 'encoder' needs [gpio.inputs.encoder_a]")
    if ejection.has_eye and Input.EYE not in gpio.inputs:
        raise ValueError("ejection.eye_ms and eye_pulses need [gpio.inputs.eye], the photo-eye before the ejector")


def _verdicts_come_in_time(ejection: EjectionSettings, gpio: GpioSettings, deadline_ms: float) -> None:
    """By time; how long an encoder's pulses take depends on the belt."""
    if ejection.mode == "encoder":
        return
    if ejection.delay_ms is not None and deadline_ms > ejection.delay_ms:
        raise ValueError(
            f"line.deadline_ms {deadline_ms:g} is later than ejection.delay_ms {ejection.delay_ms:g}: the part would "
            "be at the ejector before its verdict"
        )
    longest_ms = max(wiring.pulse_ms for output, wiring in gpio.outputs.items() if output in _EJECTOR)
    if 0 < ejection.min_gap_ms < longest_ms:
        raise ValueError(
            f"a pulse of {longest_ms:g} ms would reach into the next part, which may come after "
            f"{ejection.min_gap_ms:g} ms: shorten gpio.outputs.*.pulse_ms"
        )


def check_serial(serial: SerialSettings, trigger: str, modbus: ModbusSettings | None) -> None:
    if serial.ascii is not None and trigger == "serial" and not serial.ascii.trigger:
        raise ValueError("line.trigger 'serial' needs a template serial.ascii.trigger: no message would be a part")
    if modbus is not None and modbus.mode == "rtu" and serial.port == modbus.serial_port:
        raise ValueError(f"serial.port and modbus.serial_port are both {serial.port!r}: give each a port of its own")


def check_modbus_trigger(modbus: ModbusSettings) -> None:
    """Over TCP somebody must be allowed to write the trigger."""
    if modbus.mode == "tcp" and modbus.allow_write == ():
        raise ValueError("line.trigger 'modbus' needs a master that may write: modbus.allow_write is empty")
