"""The seams of the daemon: what a camera, a segmenter, a signal port and a connection to a broker promise."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge_runtime.values import ImageU8, InputContract

    TileF32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Exposure:
    """When a picture was taken and what it is: monotonic ns, UTC, and a label such as a file name."""

    captured_ns: int
    captured_at: datetime
    label: str = ""


class Camera(Protocol):
    """A source of pictures. One process, one thread owns it.

    Every method may raise CameraError; after one, the owner closes the camera and opens it anew with back-off.
    """

    @property
    def image_hw(self) -> tuple[int, int]:
        """Largest picture this camera gives (H, W); known after `open`."""
        ...

    def open(self) -> None: ...

    def capture(
        self, trigger_ns: int | None, timeout_ms: float, room: ImageU8 | None = None
    ) -> tuple[ImageU8, Exposure] | None:
        """The picture for a trigger (first exposure at or after `trigger_ns`), or the newest one when it is None.

        uint8 (H, W, 3) BGR, valid until the next call. `room` is flat uint8 memory of the caller: a driver that can
        puts the picture at its beginning (`pictures.place_in`), one that has it in memory of its own leaves the copy
        to the caller; either touches `room` during the call alone. None: nothing within `timeout_ms`. A finite source
        that is used up raises EndOfPictures.
        """
        ...

    def check(self) -> None:
        """Raise CameraError when an open camera is known to be lost; asked often while no part comes, never waits."""
        ...

    def close(self) -> None:
        """Let go of the device; harmless when not open."""
        ...


class Segmenter(Protocol):
    """Runs one model on tiles of one fixed size. One process, one thread owns it."""

    @property
    def input_contract(self) -> InputContract: ...

    @property
    def mask_stride_px(self) -> int:
        """Tile pixels per output cell."""
        ...

    def predict(self, picture: ImageU8, template: ImageU8 | None = None) -> tuple[ImageU8, ImageU8]:
        """Segment one tile of a picture.

        `picture`: uint8 (tile_px, tile_px, 3) BGR, a view into the frame: its rows may lie apart, its pixels do not.
        `template`: the same square of the registered template, uint8 (tile_px, tile_px), grey, its rows may lie apart;
        given exactly if the contract has one. Both are read only, and no longer than the call lasts; the engine scales
        them by the contract straight into its own input memory.
        Returns class_ids and scores, uint8 (tile_px / mask_stride_px,) * 2: read-only views that may lie in the
        engine's own memory, valid until the next `predict` or `close`. Who keeps them, copies.
        Raises InferenceError for anything outside the contract, before native code can see it.
        """
        ...

    def close(self) -> None: ...


class Output(str, Enum):
    """The output lines by meaning; levels and polarity are the driver's business."""

    OK = "ok"
    REJECT = "reject"
    BUSY = "busy"
    FAULT = "fault"
    HEARTBEAT = "heartbeat"
    READY = "ready"
    RESULT_VALID = "result_valid"
    OVERRUN = "overrun"
    STOP = "stop"


class Input(str, Enum):
    """The input lines by meaning. Those of `WATCHED_BOTH_WAYS` give an edge when they become inactive, too."""

    TRIGGER = "trigger"
    ENCODER_A = "encoder_a"
    ENCODER_B = "encoder_b"
    EYE = "eye"
    ACK = "ack"
    RESET = "reset"
    RECIPE_0 = "recipe_0"
    RECIPE_1 = "recipe_1"
    RECIPE_2 = "recipe_2"
    RECIPE_3 = "recipe_3"
    RECIPE_STROBE = "recipe_strobe"


RECIPE_BITS = (Input.RECIPE_0, Input.RECIPE_1, Input.RECIPE_2, Input.RECIPE_3)
"""A recipe's number as a binary code, least significant first."""

ENCODER_CHANNELS = (Input.ENCODER_A, Input.ENCODER_B)

WATCHED_BOTH_WAYS = frozenset(Input) - {Input.TRIGGER, Input.EYE, Input.RESET, Input.RECIPE_STROBE}


@dataclass(frozen=True)
class Edge:
    """An input became active, or inactive, at `at_ns` (monotonic, kernel time); `seqno` counts its edges from 1."""

    name: Input
    at_ns: int
    seqno: int
    active: bool = True


class BytePort(Protocol):
    """A serial line to the controller. One thread owns it; nothing here blocks.

    `open`, `read` and `write` raise SignalError when the port is absent or lost; the owner then closes it and
    opens it again with back-off.
    """

    def open(self) -> None: ...

    def fileno(self) -> int:
        """File descriptor to wait on for input; valid while open."""
        ...

    def read(self) -> bytes:
        """Some of what has arrived, b"" when nothing has; `fileno` stays readable while there is more."""
        ...

    def write(self, data: bytes) -> int:
        """How many bytes of `data` the kernel took (0 when its buffer is full)."""
        ...

    def drain(self, at_most_ms: float) -> bool:
        """Wait until what was written has left, so long at most; for a last word only. Never raises."""
        ...

    def close(self) -> None: ...


class RegisterServer(Protocol):
    """Answers the masters of a field bus from the registers it was built with. One thread owns it; nothing blocks.

    `open` and `serve` raise SignalError when the port is absent or lost; the owner then closes it and opens it again.
    A master in trouble is the server's own business.
    """

    def open(self) -> None: ...

    def sources(self) -> dict[int, int]:
        """What to wait for now: file descriptor -> poll events; valid while open."""
        ...

    def serve(self, fd: int, now_ns: int) -> None:
        """Something happened on `fd`; one that is no longer a source is ignored."""
        ...

    def close(self) -> None:
        """Hang up on everybody; harmless when not open."""
        ...


class DigitalLines(Protocol):
    """Output and input lines. Outputs are at their safe level from `open` on and after `close`.

    Safe: reject, fault and stop at their declared safe level, usually active; all others inactive. Raises SignalError.
    """

    def open(self) -> None: ...

    def fileno(self) -> int | None:
        """File descriptor that is readable when edges wait; None without inputs."""
        ...

    def edges(self) -> list[Edge]:
        """Edges seen since the last call, oldest first."""
        ...

    def is_active(self, name: Input) -> bool:
        """The level of an input now; an input that is not wired is inactive."""
        ...

    def write(self, output: Output, active: bool) -> None:
        """Drive one output; an output that is not wired is ignored."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Acknowledged:
    """The broker has taken the message of this number."""

    message_no: int


@dataclass(frozen=True)
class Received:
    """A message that came on a subscribed topic."""

    topic: str
    payload: bytes


class Publisher(Protocol):
    """A connection to a message broker. Raises SignalError, after which only `close` and a new `open` help.

    Nothing outlives a connection: what was not acknowledged on it is forgotten and the caller's to publish anew.
    """

    def open(self) -> None:
        """Connect, log in and subscribe; may block for some seconds."""
        ...

    @property
    def is_open(self) -> bool: ...

    @property
    def window(self) -> int:
        """How many messages may wait for their acknowledgement at a time; valid while open."""
        ...

    def fileno(self) -> int:
        """File descriptor to wait on for input; valid while open."""
        ...

    @property
    def wants_to_write(self) -> bool:
        """Whether `work` should be called when the descriptor is writable."""
        ...

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Hand a message over, in order, without blocking; returns its number on this connection."""
        ...

    def work(self) -> list[Acknowledged | Received]:
        """Read, write and keep alive without blocking; call it at least once a second."""
        ...

    def close(self, *, goodbye: bool = False) -> None:
        """Let go; with `goodbye` the broker is asked to publish the last will. Never raises."""
        ...
