"""Settings of the wires to the line's controller."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, IPvAnyNetwork, model_validator

from edge_runtime.interfaces import Input, Output
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
