"""GPIO lines through the kernel's character device (libgpiod 2)."""

from __future__ import annotations

import contextlib
import difflib
import errno
import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import gpiod
from gpiod.line import Bias, Clock, Direction, Value
from gpiod.line import Edge as LineEdge

from edge_runtime.errors import SignalError
from edge_runtime.interfaces import WATCHED_BOTH_WAYS, Edge, Input, Output
from edge_runtime.signal_io.safe_levels import SAFE_ACTIVE

CONSUMER = "edge-runtime"
_EVENT_BUFFER_EDGES = 1024  # as many as the kernel grants
_BIASES = {
    "as_is": Bias.AS_IS,
    "disabled": Bias.DISABLED,
    "pull_up": Bias.PULL_UP,
    "pull_down": Bias.PULL_DOWN,
}


@dataclass(frozen=True)
class OutputLine:
    """One output: `line` is an offset or a name of the chip.

    `safe_active` None takes the output's usual safe level (reject, fault and stop active, the others not); `active_low`
    None chooses the polarity with which a line without power says the safe thing.
    """

    line: int | str
    active_low: bool | None = None
    safe_active: bool | None = None

    def is_safe_active(self, output: Output) -> bool:
        return SAFE_ACTIVE[output] if self.safe_active is None else self.safe_active

    def is_active_low(self, output: Output) -> bool:
        return self.is_safe_active(output) if self.active_low is None else self.active_low

    def is_safe_without_power(self, output: Output) -> bool:
        """Whether a low line, as a box without power leaves it, means the same as the safe level."""
        return self.is_active_low(output) == self.is_safe_active(output)


@dataclass(frozen=True)
class InputLine:
    """One input: the edge with which it becomes active, how long a level must hold, and the pull resistor."""

    line: int | str
    edge: Literal["rising", "falling"] = "rising"
    debounce_us: int = 0
    bias: Literal["as_is", "disabled", "pull_up", "pull_down"] = "as_is"

    def __post_init__(self) -> None:
        if self.debounce_us < 0:
            raise ValueError(f"line {self.line}: debounce_us must not be negative, it is {self.debounce_us}")


def resolve(line: int | str, names: Sequence[str]) -> int:
    """The offset of a line, given the names of a chip's lines by offset; SignalError when it is not exactly one."""
    if isinstance(line, int):
        if not 0 <= line < len(names):
            raise SignalError(f"GPIO line {line}: the chip has lines 0 to {len(names) - 1}")
        return line
    offsets = [offset for offset, name in enumerate(names) if name and name == line]
    if len(offsets) == 1:
        return offsets[0]
    if offsets:
        raise SignalError(f"GPIO line {line!r}: the name is used at offsets {offsets}; give the offset instead")
    near = difflib.get_close_matches(line, [name for name in names if name])
    raise SignalError(f"GPIO line {line!r}: no such name; near: {', '.join(near) or 'none'}; `gpioinfo` lists them")


def output_settings(output: Output, line: OutputLine) -> gpiod.LineSettings:
    """How an output is requested: driven to its safe level by the request itself, so it never glitches."""
    return gpiod.LineSettings(
        direction=Direction.OUTPUT,
        active_low=line.is_active_low(output),
        output_value=Value(int(line.is_safe_active(output))),
    )


def input_settings(name: Input, line: InputLine) -> gpiod.LineSettings:
    """How an input is requested: edges in terms of active and inactive, stamped by the kernel in monotonic time."""
    return gpiod.LineSettings(
        direction=Direction.INPUT,
        active_low=line.edge == "falling",
        edge_detection=LineEdge.BOTH if name in WATCHED_BOTH_WAYS else LineEdge.RISING,
        bias=_BIASES[line.bias],
        debounce_period=timedelta(microseconds=line.debounce_us),
        event_clock=Clock.MONOTONIC,
    )


@dataclass(frozen=True)
class LinePlan:
    """Where a chip's lines go and how they are requested, all by offset."""

    offsets: Mapping[Output, int]
    input_names: Mapping[int, Input]
    output_settings: Mapping[int, gpiod.LineSettings]
    input_settings: Mapping[int, gpiod.LineSettings]


def plan_lines(
    names: Sequence[str], outputs: Mapping[Output, OutputLine], inputs: Mapping[Input, InputLine]
) -> LinePlan:
    """The plan for a chip whose lines have these names; SignalError for an unknown line or one wired twice."""
    offsets = {output: resolve(each.line, names) for output, each in outputs.items()}
    input_offsets = {name: resolve(each.line, names) for name, each in inputs.items()}
    used = [*offsets.values(), *input_offsets.values()]
    if twice := sorted({offset for offset in used if used.count(offset) > 1}):
        raise SignalError(f"GPIO lines {twice} are used twice; give each input and output a line of its own")
    return LinePlan(
        offsets,
        {offset: name for name, offset in input_offsets.items()},
        {offsets[output]: output_settings(output, each) for output, each in outputs.items()},
        {input_offsets[name]: input_settings(name, each) for name, each in inputs.items()},
    )


class GpioLines:
    """DigitalLines on one GPIO chip, given as `gpiochip3`, a device path or a label such as `tegra234-gpio`.

    The lines are held from `open` to `close`. One thread owns it.
    """

    def __init__(self, chip: str, outputs: Mapping[Output, OutputLine], inputs: Mapping[Input, InputLine]) -> None:
        self._chip_name = chip
        self._outputs = dict(outputs)
        self._inputs = dict(inputs)
        self._plan: LinePlan | None = None
        self._output_request: gpiod.LineRequest | None = None
        self._input_request: gpiod.LineRequest | None = None

    def open(self) -> None:
        self.close()
        path = find_chip(self._chip_name)
        try:
            with gpiod.Chip(path) as chip:
                self._request(chip)
        except SignalError:
            self.close()
            raise
        except (OSError, ValueError) as exc:
            self.close()
            raise SignalError(f"GPIO chip {path}: {exc}; {_advice(exc)}") from exc

    def _request(self, chip: gpiod.Chip) -> None:
        names = [chip.get_line_info(offset).name for offset in range(chip.get_info().num_lines)]
        plan = plan_lines(names, self._outputs, self._inputs)
        self._output_request = _request_lines(chip, plan.output_settings)
        self._plan = plan
        self._input_request = _request_lines(chip, plan.input_settings)

    def _opened(self) -> LinePlan:
        if self._plan is None:
            raise SignalError(f"GPIO chip {self._chip_name} is not open")
        return self._plan

    def fileno(self) -> int | None:
        self._opened()
        return None if self._input_request is None else self._input_request.fd

    def edges(self) -> list[Edge]:
        plan = self._opened()
        request = self._input_request
        edges: list[Edge] = []
        try:
            while request is not None and len(edges) < _EVENT_BUFFER_EDGES and request.wait_edge_events(0):
                edges += [_edge(plan, event) for event in request.read_edge_events()]
        except OSError as exc:
            raise self._lost(exc) from exc
        return edges

    def is_active(self, name: Input) -> bool:
        offset = next((at for at, each in self._opened().input_names.items() if each is name), None)
        if self._input_request is None or offset is None:
            return False
        try:
            return self._input_request.get_value(offset) is Value.ACTIVE
        except OSError as exc:
            raise self._lost(exc) from exc

    def write(self, output: Output, active: bool) -> None:
        offset = self._opened().offsets.get(output)
        if self._output_request is None or offset is None:
            return
        try:
            self._output_request.set_value(offset, Value(int(active)))
        except OSError as exc:
            raise self._lost(exc) from exc

    def close(self) -> None:
        plan, self._plan = self._plan, None
        outputs, self._output_request = self._output_request, None
        inputs, self._input_request = self._input_request, None
        if outputs is not None:
            # A chip that is gone cannot be driven; the call that met its loss has raised.
            with contextlib.suppress(OSError):
                if plan is not None:
                    outputs.set_values({offset: each.output_value for offset, each in plan.output_settings.items()})
            outputs.release()
        if inputs is not None:
            inputs.release()

    def _lost(self, exc: OSError) -> SignalError:
        return SignalError(f"GPIO chip {self._chip_name}: {exc}; {_advice(exc)}")


def _edge(plan: LinePlan, event: gpiod.EdgeEvent) -> Edge:
    active = event.event_type is gpiod.EdgeEvent.Type.RISING_EDGE
    return Edge(plan.input_names[event.line_offset], event.timestamp_ns, event.line_seqno, active)


def _request_lines(chip: gpiod.Chip, settings: Mapping[int, gpiod.LineSettings]) -> gpiod.LineRequest | None:
    if not settings:
        return None
    config: dict[Iterable[int | str] | int | str, gpiod.LineSettings | None] = {}
    for offset, each in settings.items():
        config[offset] = each
    try:
        return chip.request_lines(config, consumer=CONSUMER, event_buffer_size=_EVENT_BUFFER_EDGES)
    except OSError as exc:
        raise SignalError(f"GPIO lines {sorted(settings)}: {exc}; {_busy(chip, settings) or _advice(exc)}") from exc


def _busy(chip: gpiod.Chip, offsets: Mapping[int, object]) -> str:
    infos = [chip.get_line_info(offset) for offset in offsets]
    return ", ".join(f"line {info.offset} is held by {info.consumer or 'the kernel'}" for info in infos if info.used)


def find_chip(chip: str) -> str:
    """The device path of a chip given by path, name or label; SignalError listing the chips of this machine."""
    if "/" in chip:
        return chip
    chips = _chips_here()
    for path, label in chips:
        if chip in (label, path.removeprefix("/dev/")):
            return path
    listed = ", ".join(f"{path} ({label})" for path, label in chips) or "none"
    raise SignalError(f"GPIO chip {chip!r} not found; chips of this machine: {listed}")


def _chips_here() -> list[tuple[str, str]]:
    paths = [path for path in sorted(glob.glob("/dev/gpiochip*")) if gpiod.is_gpiochip_device(path)]
    return [(path, _label(path)) for path in paths]


def _label(path: str) -> str:
    try:
        with gpiod.Chip(path) as chip:
            return chip.get_info().label
    except OSError as exc:
        return f"cannot be opened: {exc.strerror}"


def _advice(exc: Exception) -> str:
    code = exc.errno if isinstance(exc, OSError) else None
    if code in (errno.EACCES, errno.EPERM):
        return "add the service's user to the group gpio and install the udev rule that gives it /dev/gpiochip*"
    if code in (errno.ENOENT, errno.ENODEV):
        return "chips of this machine: " + (", ".join(path for path, _ in _chips_here()) or "none")
    return "`gpioinfo` shows what each line can do and who holds it"
