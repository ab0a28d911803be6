"""Settings of the wires to the line's controller."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, IPvAnyNetwork, model_validator

from edge_runtime.clock import NS_PER_MS
from edge_runtime.interfaces import RECIPE_BITS, Input, Output
from edge_runtime.validation import StrictModel


class SerialSettings(StrictModel):
    """The serial line to the controller. Driver `serial` needs a port."""

    driver: Literal["serial", "recording"] = Field(default="serial", description="recording: only into the journal")
    port: str = Field(default="", description="Path, best in /dev/serial/by-id, or a pattern that matches one device")
    journal: Path | None = Field(default=None, description="recording only: file of JSON lines")
    baud_rate: int = Field(default=115_200, ge=1200, le=921_600, description="With 8 data bits, no parity, 1 stop bit")
    acknowledge: bool = Field(default=True, description="Repeat a result until acknowledged; false: send it once")
    ack_timeout_ms: float = Field(default=200, ge=10, le=60_000, description="Before a result is first repeated")
    max_unacknowledged: int = Field(default=2000, ge=1, le=20_000, description="Results that may wait at a time")

    @model_validator(mode="after")
    def _port_is_named(self) -> SerialSettings:
        if self.driver == "serial" and not self.port:
            raise ValueError("driver 'serial' needs a port, for example /dev/serial/by-id/usb-…")
        return self


class OutputLineSettings(StrictModel):
    """One output, by its meaning. Unset polarity and safe level are fail-safe."""

    line: Annotated[int, Field(ge=0)] | str = Field(description="Offset on the chip, or the kernel's name")
    active_low: bool | None = Field(default=None, description="Unset: true where the safe level is active")
    safe_active: bool | None = Field(default=None, description="Unset: true for reject and fault, else false")
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


class GpioSettings(StrictModel):
    """Digital lines. Outputs that are not listed are not driven."""

    driver: Literal["gpio", "recording"] = Field(default="gpio", description="recording: only into the journal")
    chip: str = Field(default="/dev/gpiochip0", description="Path, name such as gpiochip3, or label")
    journal: Path | None = Field(default=None, description="recording only: file of JSON lines")
    feed: Path | None = Field(default=None, description="recording only: socket by which another process makes edges")
    outputs: dict[Output, OutputLineSettings] = Field(default_factory=dict, description="By meaning, see below")
    inputs: dict[Input, InputLineSettings] = Field(default_factory=dict, description="By meaning, see below")
    recipe_settle_ms: float = Field(
        default=50, ge=1, le=10_000, description="Without recipe_strobe: how long the code must stand to count"
    )

    @model_validator(mode="after")
    def _strobe_has_a_code(self) -> GpioSettings:
        if Input.RECIPE_STROBE in self.inputs and not self.recipe_bits:
            raise ValueError("inputs.recipe_strobe needs a code to latch: inputs.recipe_0 to recipe_3")
        return self

    @property
    def recipe_bits(self) -> tuple[Input, ...]:
        """The wired inputs of the recipe's code."""
        return tuple(name for name in RECIPE_BITS if name in self.inputs)


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
        travel, min_gap, eye, tolerance = self.in_axis_units()
        if min_gap > travel:
            raise ValueError("min_gap must not exceed the way from trigger to ejector")
        if tolerance > eye or eye + tolerance > travel:
            raise ValueError("the eye and its tolerance must lie between trigger and ejector")
        return self

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
