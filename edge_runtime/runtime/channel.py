"""Whole messages over a socket pair: a sender that dies in the middle of one leaves nothing half said."""

from __future__ import annotations

import select
import socket

from edge_runtime.runtime.messages import Message, decode, encode

MAX_MESSAGE_BYTES = 192 * 1024


class ChannelClosed(Exception):
    """The other end is gone."""


class ChannelFull(Exception):
    """The other end does not read; the message was not sent."""


class Channel:
    """One end of a SOCK_SEQPACKET pair. One thread owns it."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._socket.setblocking(False)

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(first), cls(second)

    @classmethod
    def from_fd(cls, fd: int) -> Channel:
        return cls(socket.socket(fileno=fd))

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, message: Message) -> None:
        """Send now or raise: ChannelFull, ChannelClosed, or ValueError for a message beyond the size limit."""
        data = encode(message)
        if len(data) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a {message.kind} message of {len(data)} bytes exceeds {MAX_MESSAGE_BYTES}")
        try:
            self._socket.send(data)
        except BlockingIOError as exc:
            raise ChannelFull(message.kind) from exc
        except OSError as exc:
            raise ChannelClosed(str(exc)) from exc

    def send_patiently(self, message: Message) -> None:
        """Send, waiting as long as the other end lives: for children, who may wait for the line."""
        while True:
            try:
                return self.send(message)
            except ChannelFull:
                select.select([], [self._socket], [])

    def receive(self) -> Message | None:
        """The next message, None when none waits.

        Raises MessageError for rubbish, ChannelClosed when all that a closed or dead other end had said was read.
        """
        try:
            data = self._receive_data()
        except BlockingIOError:
            return None
        except OSError as exc:
            raise ChannelClosed(str(exc)) from exc
        if not data:
            raise ChannelClosed("the other end closed it")
        return decode(data)

    def _receive_data(self) -> bytes:
        try:
            return self._socket.recv(MAX_MESSAGE_BYTES)
        except ConnectionResetError:
            # The other end died with messages unread: the kernel says so once, then gives what it had sent.
            return self._socket.recv(MAX_MESSAGE_BYTES)

    def wait(self, timeout_ms: float | None, other_fd: int | None = None) -> Message | None:
        """The next message within `timeout_ms` (None: for ever), else None. Raises as `receive` does.

        Returns as well when `other_fd` becomes readable.
        """
        own_fd = self._socket.fileno()
        waited = [own_fd] if other_fd is None else [own_fd, other_fd]
        readable, _, _ = select.select(waited, [], [], None if timeout_ms is None else timeout_ms / 1000)
        return self.receive() if own_fd in readable else None
