"""The digital wires between machine and daemon: what the machine does to the inputs, what the outputs did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from edge_runtime.signal_io.edge_feed import EdgeSender, FedEdge
from edge_runtime.signal_io.recording import Driven, driven

FEED_NAME, JOURNAL_NAME = "inputs.sock", "outputs.jsonl"


class Wires(Protocol):
    """Made before the daemon starts, closed after it has ended. One thread owns it; nothing blocks.

    `debounces`: the wires themselves debounce, so edges go there as the contacts make them. `stamp_slack_ns`: how much
    later than told an edge may be stamped.
    """

    debounces: bool
    stamp_slack_ns: int

    @property
    def pending(self) -> int:
        """Whether something waits for the next `send`."""
        ...

    def settings(self, gpio: dict[str, Any]) -> dict[str, Any]:
        """A [gpio] section moved onto these wires."""
        ...

    def send(self, edges: Sequence[FedEdge] = ()) -> None: ...

    def lose_chip(self, for_ms: float) -> None:
        """Take the chip away for so long."""
        ...

    def driven(self) -> list[Driven]:
        """What the outputs did, in order."""
        ...

    def close(self) -> None: ...


class RecordedWires:
    """The `recording` driver: its feed and its journal in `folder`. The edges carry the stamps that they are told."""

    debounces = False
    stamp_slack_ns = 0

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sender = EdgeSender(folder / FEED_NAME)

    @property
    def pending(self) -> int:
        return self._sender.pending

    def settings(self, gpio: dict[str, Any]) -> dict[str, Any]:
        return {**gpio, "driver": "recording", "journal": JOURNAL_NAME, "feed": FEED_NAME}

    def send(self, edges: Sequence[FedEdge] = ()) -> None:
        self._sender.send(edges)

    def lose_chip(self, for_ms: float) -> None:
        self._sender.lose_chip(for_ms)

    def driven(self) -> list[Driven]:
        return driven(self._folder / JOURNAL_NAME)

    def close(self) -> None:
        self._sender.close()
