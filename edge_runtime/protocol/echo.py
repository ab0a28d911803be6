"""Own words that come back on a two-wire line are not the controller's."""

from __future__ import annotations

MAX_EXPECTED_BYTES = 64 * 1024


class EchoFilter:
    """Takes out of what is received what was sent, byte for byte and in order. Pure; one thread owns it.

    A received byte that differs from the expected one means that the echo was damaged or did not come: what was
    expected is forgotten and everything is let through, for the protocol's own checks to judge.
    """

    def __init__(self) -> None:
        self._expected = bytearray()
        self.mismatches = 0

    def sent(self, data: bytes) -> None:
        self._expected += data
        if len(self._expected) > MAX_EXPECTED_BYTES:
            self._expected.clear()

    def received(self, data: bytes) -> bytes:
        """What of `data` is not an echo."""
        echoed = min(len(data), len(self._expected))
        if data[:echoed] != self._expected[:echoed]:
            self.mismatches += 1
            self._expected.clear()
            return data
        del self._expected[:echoed]
        return data[echoed:]

    def restart(self) -> None:
        self._expected.clear()
