"""The line's controller at the other end of the serial adapter: hears every sentence, acknowledges every result."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edge_runtime.protocol.messages import FROM_DEVICE, Acknowledge, Down, Heartbeat, Message, Result, StatusQuery
from edge_runtime.protocol.sentence import Decoder, encode
from tools.hil.workshop import BenchError


class Controller:
    """A thread listens from the start; `heard` only ever grows."""

    def __init__(self, path: Path) -> None:
        self.heard: list[Message] = []
        self.heard_at_s: dict[int, float] = {}
        self._decoder = Decoder(FROM_DEVICE)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def results(self) -> list[Result]:
        return [message for message in self.heard if isinstance(message, Result)]

    @property
    def part_ids(self) -> list[int]:
        """Of all parts, each once however often its result was repeated, in the order of their first result."""
        return list(dict.fromkeys(result.part_id for result in self.results))

    @property
    def downs(self) -> int:
        """How often the device said that it is down, its outputs safe."""
        return sum(isinstance(message, Down) for message in self.heard)

    @property
    def state(self) -> str:
        return next((message.state for message in reversed(self.heard) if isinstance(message, Heartbeat)), "")

    def ask_status(self) -> None:
        self._say(StatusQuery())

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 600) -> None:
        """Wait until `condition()` holds. Raises BenchError."""
        started_s = time.monotonic()
        while not condition():
            if time.monotonic() - started_s > timeout_s:
                last = [str(message) for message in self.heard[-5:]]
                raise BenchError(f"waited {timeout_s} s for {what}; the controller last heard {last}")
            time.sleep(0.02)

    def _say(self, message: Message) -> None:
        self._socket.sendall(encode(message))

    def _listen(self) -> None:
        while data := self._read():
            for message in self._decoder.feed(data):
                if isinstance(message, Result):
                    self._say(Acknowledge(message.seq))
                    self.heard_at_s.setdefault(message.part_id, time.monotonic())
                self.heard.append(message)

    def _read(self) -> bytes:
        try:
            return self._socket.recv(4096)
        except OSError:
            return b""
