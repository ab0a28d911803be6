"""Settings of the wires to the line's controller."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, IPvAnyNetwork, model_validator

from edge_runtime.clock import NS_PER_MS
from edge_runtime.interfaces import RECIPE_BITS, Input, Output
from edge_runtime.protocol.ascii_codec import AsciiCodec
from edge_runtime.protocol.ascii_template import MAX_TEMPLATE_CHARS
from edge_runtime.validation import StrictModel


class AsciiSettings(StrictModel):
    """A controller's own messages as templates, see serial_ascii.md. What has no template is not said."""

    result: str = Field(default="", max_length=MAX_TEMPLATE_CHARS, description="A part's result")
    heartbeat: str = Field(default="", max_length=MAX_TEMPLATE_CHARS, description="Every `line.heartbeat_ms`")
    fault: str = Field(default="", max_length=MAX_TEMPLATE_CHARS, description="A fault was raised or cleared")
    down: str = Field(default="", max_length=MAX_TEMPLATE_CHARS, description="The daemon ends")
    accepted: str = Field(default="", max_length=MAX_TEMPLATE_CHARS, description="A numbered trigger became a part")
    refused: str = Field(default="", max_length=MAX_TEMPLATE_CHARS, description="Understood and refused")
    signals: str = Field(default="", max_length=MAX_TEMPLATE_CHARS, description="Ready, busy, overrun, fault changed")
    status: str = Field(default="", max_length=MAX_TEMPLATE_CHARS, description="The answer to a query")
    recipe_active: str = Field(default="", max_length=MAX_TEMPLATE_CHARS, description="The recipe of the next part")
    trigger: str = Field(
        default="", max_length=MAX_TEMPLATE_CHARS, description="A part has come, with its number or without"
    )
    ack: str = Field(default="", max_length=MAX_TEMPLATE_CHARS, description="By part_id or seq; unset: results go once")
    reset: str = Field(default="", max_length=MAX_TEMPLATE_CHARS, description="Take back overrun and stop")
    query: str = Field(default="", max_length=MAX_TEMPLATE_CHARS, description="Asks for the status")
    recipe: str = Field(default="", max_length=MAX_TEMPLATE_CHARS, description="Inspect the next part with this recipe")
    recipe_query: str = Field(default="", max_length=MAX_TEMPLATE_CHARS, description="Asks for the recipe")

    @model_validator(mode="after")
    def _templates_are_sound(self) -> AsciiSettings:
        AsciiCodec(self.templates())
        return self

    def templates(self) -> dict[str, str]:
        return {name: text for name, text in self if text}


class Rs485Settings(StrictModel):
    """The port's driver switches the direction of an RS-485 transceiver (TIOCSRS485)."""

    rts_level_for_tx: bool = Field(default=True, description="Level of RTS while sending; the other one otherwise")
    delay_before_tx_ms: float = Field(default=0, ge=0, le=100, description="From RTS to the first bit; whole ms")
    delay_after_tx_ms: float = Field(default=0, ge=0, le=100, description="From the last bit to RTS; whole ms")
    loopback: bool = Field(default=False, description="What is sent is received, too, and ignored here")


class SerialSettings(StrictModel):
    """The serial line to the controller. Driver `serial` needs a port, protocol `ascii` a [serial.ascii] section."""

    driver: Literal["serial", "recording"] = Field(default="serial", description="recording: only into the journal")
    port: str = Field(
        default="",
        max_length=4096,
        description="Path, pattern, `usb:VENDOR:PRODUCT[:SERIALNO]`, or `id:PATTERN` in /dev/serial/by-id; one device",
    )
    protocol: Literal["sentence", "ascii"] = Field(default="sentence", description="The box's own, or by templates")
    ascii: AsciiSettings | None = Field(default=None, description="Templates of protocol ascii")
    rs485: Rs485Settings | None = Field(default=None, description="Unset: RS-232, USB, or an adapter that switches")
    journal: Path | None = Field(default=None, description="recording only: file of JSON lines")
    baud_rate: int = Field(default=115_200, ge=1200, le=921_600, description="With 8 data bits, no parity, 1 stop bit")
    acknowledge: bool = Field(default=True, description="Repeat a result until acknowledged; false: send it once")
    ack_timeout_ms: float = Field(default=200, ge=10, le=60_000, description="Before a result is first repeated")
    max_unacknowledged: int = Field(default=2000, ge=1, le=20_000, description="Results that may wait at a time")

    @model_validator(mode="after")
    def _port_is_named(self) -> SerialSettings:
        if self.driver == "serial" and not self.port:
            raise ValueError("driver 'serial' needs a port, for example /dev/serial/by-id/usb-…")
        if self.driver == "recording" and self.port:
            raise ValueError("driver 'recording' says nothing on a port: remove port, or set driver = \"serial\"")
        if self.driver == "serial" and self.journal is not None:
            raise ValueError("journal is for driver 'recording' alone: remove it")
        if self.port.startswith("usb:") and not re.fullmatch("usb(:[0-9A-Fa-f]{4}){2}(:.+)?", self.port):
            raise ValueError("port: write usb:VENDOR:PRODUCT or usb:VENDOR:PRODUCT:SERIALNO, such as usb:0403:6001")
        if self.port == "id:":
            raise ValueError("port: write id:PATTERN, such as id:usb-FTDI_*; doctor lists the ports with their names")
        return self

    @model_validator(mode="after")
    def _protocol_is_whole(self) -> SerialSettings:
        if (self.protocol == "ascii") is not (self.ascii is not None):
            raise ValueError("protocol 'ascii' and a [serial.ascii] section need each other")
        return self


class OutputLineSettings(StrictModel):
    """One output, by its meaning. Unset polarity and safe level are fail-safe."""

    line: Annotated[int, Field(ge=0)] | str = Field(description="Offset on the chip, or the kernel's name")
    active_low: bool | None = Field(default=None, description="Unset: true where the safe level is active")
    safe_active: bool | None = Field(default=None, description="Unset: true for reject, fault and stop, else false")
    pulse_ms: float = Field(default=50, gt=0, le=60_000, description="Length of a verdict's pulse on ok or reject")
    max_unrefreshed_ms: float = Field(
        default=3000, ge=400, le=60_000, description="A daemon silent for longer is killed and all outputs made safe"
    )


class InputLineSettings(StrictModel):
    """One input, by its meaning. The kernel debounces it and stamps its edges, later by the debounce time."""

    line: Annotated[int, Field(ge=0)] | str = Field(description="Offset on the chip, or the kernel's name")
    edge: Literal["rising", "falling"] = Field(default="rising", description="The edge with which it becomes active")
    bias: Literal["as_is", "disabled", "pull_up", "pull_down"] = Field(
        default="as_is", description="Pull resistor of the pin"
    )
    debounce_us: int = Field(default=1000, ge=0, le=1_000_000, description="How long a level must hold to count")


class HandshakeSettings(StrictModel):
    """Times of the handshake over lines, used where `gpio.verdicts` is "handshake"."""

    setup_ms: float = Field(default=5, ge=0, le=1000, description="ok and reject stand so long before result_valid")
    off_ms: float = Field(default=50, ge=0, le=10_000, description="result_valid is off so long between two results")
    max_results: int = Field(default=256, ge=1, le=20_000, description="Results that may wait at a time")


class GpioSettings(StrictModel):
    """Digital lines. Outputs that are not listed are not driven."""

    driver: Literal["gpio", "recording"] = Field(default="gpio", description="recording: only into the journal")
    chip: str = Field(default="/dev/gpiochip0", description="Path, name such as gpiochip3, or label")
    journal: Path | None = Field(default=None, description="recording only: file of JSON lines")
    feed: Path | None = Field(default=None, description="recording only: socket by which another process makes edges")
    verdicts: Literal["pulse", "handshake"] = Field(
        default="pulse", description="A pulse each, or levels that wait for the ack input"
    )
    handshake: HandshakeSettings = Field(default=HandshakeSettings(), description="Its times")
    outputs: dict[Output, OutputLineSettings] = Field(default_factory=dict, description="By meaning, see below")
    inputs: dict[Input, InputLineSettings] = Field(default_factory=dict, description="By meaning, see below")
    recipe_settle_ms: float = Field(
        default=50, ge=1, le=10_000, description="Without recipe_strobe: how long the code must stand to count"
    )

    @model_validator(mode="after")
    def _files_are_for_recording(self) -> GpioSettings:
        if self.driver == "gpio" and (self.journal is not None or self.feed is not None):
            raise ValueError("journal and feed are for driver 'recording' alone: remove them")
        return self

    @model_validator(mode="after")
    def _strobe_has_a_code(self) -> GpioSettings:
        if Input.RECIPE_STROBE in self.inputs and not self.recipe_bits:
            raise ValueError("inputs.recipe_strobe needs a code to latch: inputs.recipe_0 to recipe_3")
        return self

    @property
    def recipe_bits(self) -> tuple[Input, ...]:
        """The wired inputs of the recipe's code."""
        return tuple(name for name in RECIPE_BITS if name in self.inputs)

    @model_validator(mode="after")
    def _handshake_is_wired(self) -> GpioSettings:
        wired = {Output.OK, Output.RESULT_VALID} <= self.outputs.keys() and Input.ACK in self.inputs
        if self.verdicts == "handshake" and not wired:
            raise ValueError("verdicts 'handshake' needs the outputs ok and result_valid and the input ack")
        if self.verdicts == "pulse" and (Output.RESULT_VALID in self.outputs or Input.ACK in self.inputs):
            raise ValueError('outputs.result_valid and inputs.ack need verdicts = "handshake": pulses do not wait')
        return self


Peers = Annotated[tuple[IPvAnyNetwork, ...], Field(max_length=64)]


class ModbusSettings(StrictModel):
    """Registers for a controller that speaks Modbus, see modbus.md. Over TCP only listed peers are served."""

    mode: Literal["tcp", "rtu"] = Field(default="tcp", description="rtu: slave on a serial line; needs serial_port")
    host: str = Field(default="127.0.0.1", min_length=1, max_length=253, description="tcp: address to listen at")
    port: int = Field(default=1502, ge=1, le=65_535, description="tcp: below 1024 needs a right, see modbus.md")
    allow_read: Peers | None = Field(
        default=None, description='tcp: who may read, such as ["10.0.0.0/24"]; unset: this machine alone'
    )
    allow_write: Peers | None = Field(
        default=None, description='tcp: who may read and write, such as ["10.0.0.7"]; unset: this machine alone'
    )
    max_clients: int = Field(default=8, ge=1, le=200, description="tcp: connections at a time")
    serial_port: str = Field(default="", description="rtu: path, or a pattern that matches one device")
    baud_rate: int = Field(default=19_200, ge=1200, le=921_600, description="rtu: speed, with 8 data bits")
    parity: Literal["none", "even", "odd"] = Field(default="even", description="rtu: parity")
    stop_bits: Literal[1, 2] = Field(default=1, description="rtu: stop bits")
    unit_id: int = Field(default=1, ge=1, le=247, description="rtu: address on the line; tcp: not looked at")
    word_order: Literal["big", "little"] = Field(
        default="big", description="big: the high word of a long number comes first; little: the low word"
    )
    acknowledge: bool = Field(
        default=True, description="Show a result until it is acknowledged; false: until the next one comes"
    )
    max_unacknowledged: int = Field(default=256, ge=1, le=10_000, description="Results that may wait at a time")

    @model_validator(mode="after")
    def _serial_port_is_named(self) -> ModbusSettings:
        if self.mode == "rtu" and not self.serial_port:
            raise ValueError("mode 'rtu' needs a serial_port, for example /dev/serial/by-id/usb-…")
        return self


class EjectionSettings(StrictModel):
    """The way from trigger to ejector. With it, `ok` and `reject` pulse when the part is there, never earlier.

    `min_gap_*` is the smallest distance at which two parts can follow each other; no pulse is longer.
    """

    mode: Literal["delay", "encoder"] = Field(description="By time, on a belt of constant speed, or by encoder pulses")
    delay_ms: float | None = Field(default=None, gt=0, le=600_000, description="delay: from trigger to ejector")
    min_gap_ms: float = Field(default=0, ge=0, le=600_000, description="delay: between two parts; 0: not checked")
    pulses: int | None = Field(default=None, ge=1, le=10_000_000, description="encoder: from trigger to ejector")
    min_gap_pulses: int = Field(
        default=0, ge=0, le=10_000_000, description="encoder: between two parts; 0: not checked"
    )
    standstill_ms: float = Field(default=200, ge=10, le=60_000, description="encoder: without a pulse, the belt stands")
    eye_ms: float = Field(default=0, ge=0, le=600_000, description="delay: from trigger to gpio.inputs.eye; 0: no eye")
    eye_tolerance_ms: float = Field(default=0, ge=0, le=60_000, description="delay: a part may meet it so far off")
    eye_pulses: int = Field(default=0, ge=0, le=10_000_000, description="encoder: from trigger to the eye; 0: no eye")
    eye_tolerance_pulses: int = Field(default=0, ge=0, le=1_000_000, description="encoder: it may meet it so far off")
    on_standstill: Literal["wait", "reject"] = Field(
        default="wait", description="encoder: reject: the ejector works while the belt stands, or its encoder is silent"
    )
    on_doubled: Literal["reject", "ignore"] = Field(
        default="reject", description="Triggers closer than min_gap: reject the parts, or ignore the later trigger"
    )
    on_lost: Literal["reject", "count"] = Field(
        default="reject", description="A trigger is missing between two: eject what lies between, or only count"
    )

    @model_validator(mode="after")
    def _the_mode_has_its_distance(self) -> EjectionSettings:
        if self.mode == "delay" and self.delay_ms is None:
            raise ValueError("mode 'delay' needs delay_ms, the time from trigger to ejector")
        if self.mode == "encoder" and self.pulses is None:
            raise ValueError("mode 'encoder' needs pulses, the encoder pulses from trigger to ejector")
        if foreign := self._of_the_other_mode():
            raise ValueError(f"{foreign} has no meaning in mode '{self.mode}': give it in the mode's own unit")
        travel, min_gap, eye, tolerance = self.in_axis_units()
        if min_gap > travel:
            raise ValueError("min_gap must not exceed the way from trigger to ejector")
        if tolerance > eye or eye + tolerance > travel:
            raise ValueError("the eye and its tolerance must lie between trigger and ejector")
        return self

    def _of_the_other_mode(self) -> str:
        """A key in the unit of the other mode that was set; empty without one."""
        foreign = "_pulses" if self.mode == "delay" else "_ms"
        own = {"standstill_ms"}
        return next((k for k, v in self if f"_{k}".endswith(foreign) and k not in own and v not in (None, 0)), "")

    @property
    def has_eye(self) -> bool:
        return self.in_axis_units()[2] > 0

    def in_axis_units(self) -> tuple[int, int, int, int]:
        """Travel, min_gap, eye and its tolerance in nanoseconds or pulses."""
        if self.mode == "encoder":
            return self.pulses or 0, self.min_gap_pulses, self.eye_pulses, self.eye_tolerance_pulses
        times_ms = (self.delay_ms or 0, self.min_gap_ms, self.eye_ms, self.eye_tolerance_ms)
        travel_ns, min_gap_ns, eye_ns, tolerance_ns = (round(each * NS_PER_MS) for each in times_ms)
        return travel_ns, min_gap_ns, eye_ns, tolerance_ns


class StopSettings(StrictModel):
    """When the line must stop: output `stop` and fault `rejects` stand until a reset. 0 switches a rule off."""

    consecutive_rejects: int = Field(default=0, ge=0, le=100_000, description="So many in a row")
    reject_rate: float = Field(default=0, ge=0, le=1, description="This share of the last rate_window parts")
    rate_window: int = Field(default=100, ge=2, le=100_000, description="Parts over which the share is taken")
