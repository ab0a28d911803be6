"""A Modbus/TCP server: sockets, clients, who may read and who may write."""

from __future__ import annotations

import errno
import logging
import select
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from edge_runtime.clock import NS_PER_S
from edge_runtime.errors import SignalError
from edge_runtime.protocol.modbus_bank import RegisterBank
from edge_runtime.protocol.peers import Network, is_in
from edge_runtime.signal_io.modbus import MAX_TCP_FRAME_BYTES, NotModbus, answer, tcp_answers

log = logging.getLogger(__name__)
READ_BYTES = 16 * MAX_TCP_FRAME_BYTES
MAX_UNSENT_BYTES = 64 * 1024
IDLE_NS = 10 * NS_PER_S
BACKLOG = 16


@dataclass
class _Client:
    connection: socket.socket
    peer: str
    may_write: bool
    heard_ns: int
    received: bytes = b""
    unsent: bytes = b""


class ModbusTcpServer:
    """A RegisterServer. Peers in neither list are hung up on; who may write may read.

    With `max_clients` connected, a newcomer takes the place of one that was silent for `IDLE_NS`, else it is refused.
    The unit id of a request is not looked at: one box has one address.
    """

    def __init__(
        self,
        bank: RegisterBank,
        address: tuple[str, int],
        may_read: Sequence[Network],
        may_write: Sequence[Network],
        max_clients: int,
    ) -> None:
        self.port = address[1]
        self._bank = bank
        self._address = address
        self._may_read = may_read
        self._may_write = may_write
        self._max_clients = max_clients
        self._listener: socket.socket | None = None
        self._clients: dict[int, _Client] = {}
        self._told: set[str] = set()

    def open(self) -> None:
        self.close()
        host, port = self._address
        try:
            family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            self._listener = socket.create_server((where[0], port), family=family, backlog=BACKLOG)
            self._listener.setblocking(False)
        except OSError as exc:
            raise SignalError(f"Modbus/TCP {host} port {port}: {exc}; {_advice(exc, port)}") from exc
        self.port = self._listener.getsockname()[1]

    def sources(self) -> dict[int, int]:
        if self._listener is None:
            return {}
        waits = {self._listener.fileno(): select.POLLIN}
        for fd, client in self._clients.items():
            waits[fd] = select.POLLIN | (select.POLLOUT if client.unsent else 0)
        return waits

    def serve(self, fd: int, now_ns: int) -> None:
        if self._listener is not None and fd == self._listener.fileno():
            self._accept(now_ns)
        elif fd in self._clients:
            self._hear(self._clients[fd], now_ns)

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._listener = None
        for client in list(self._clients.values()):
            self._drop(client)

    # -- inside -------------------------------------------------------------------------------------------------

    def _accept(self, now_ns: int) -> None:
        assert self._listener is not None
        try:
            connection, address = self._listener.accept()
        except OSError as exc:  # it went away again, or this process has no descriptor left
            self._tell_once("accept", "a connection could not be taken: %s", exc)
            return
        peer = str(address[0])
        may_write = is_in(peer, self._may_write)
        if not (may_write or is_in(peer, self._may_read)):
            self._tell_once(peer, "%s is in neither allow_read nor allow_write; its connections are refused", peer)
        elif self._has_room(now_ns):
            self._welcome(connection, peer, may_write, now_ns)
            return
        else:
            self._tell_once("full", "%d clients are connected; %s is refused", self._max_clients, peer)
        self._bank.refused += 1
        connection.close()

    def _welcome(self, connection: socket.socket, peer: str, may_write: bool, now_ns: int) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, seconds in ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3)):
            connection.setsockopt(socket.IPPROTO_TCP, option, seconds)
        self._clients[connection.fileno()] = _Client(connection, peer, may_write, now_ns)

    def _has_room(self, now_ns: int) -> bool:
        if len(self._clients) < self._max_clients:
            return True
        silent = min(self._clients.values(), key=lambda client: client.heard_ns)
        if now_ns - silent.heard_ns < IDLE_NS:
            return False
        self._drop(silent)
        return True

    def _hear(self, client: _Client, now_ns: int) -> None:
        """Take what came, answer what is whole, write as far as the kernel takes it. A client in trouble is dropped."""
        try:
            self._receive(client, now_ns)
            client.unsent = client.unsent[_send(client) :]
        except NotModbus as exc:
            self._tell_once(client.peer + " speaks", "%s does not speak Modbus/TCP (%s); hanging up", client.peer, exc)
            self._drop(client)
        except OSError:
            self._drop(client)

    def _receive(self, client: _Client, now_ns: int) -> None:
        with suppress(BlockingIOError):
            received = client.connection.recv(READ_BYTES)
            if not received:
                raise ConnectionResetError("the client hung up")
            client.heard_ns = now_ns
            respond = partial(answer, bank=self._bank, may_write=client.may_write)
            answers, client.received = tcp_answers(client.received + received, respond)
            client.unsent += answers
        if len(client.unsent) > MAX_UNSENT_BYTES:
            raise ConnectionResetError("the client asks and does not listen")

    def _drop(self, client: _Client) -> None:
        self._clients.pop(client.connection.fileno(), None)
        client.connection.close()

    def _tell_once(self, key: str, text: str, *values: object) -> None:
        """Each kind of trouble once: whoever causes it could fill the log."""
        if key not in self._told and len(self._told) < 100:
            self._told.add(key)
            log.warning(text, *values)


def _send(client: _Client) -> int:
    if not client.unsent:
        return 0
    try:
        return client.connection.send(client.unsent)
    except BlockingIOError:
        return 0


def _advice(exc: OSError, port: int) -> str:
    if exc.errno == errno.EACCES:
        return f"ports below 1024 need a right: see docs/modbus.md, or set a modbus.port above {port}"
    if exc.errno == errno.EADDRINUSE:
        return f"another program listens there, `ss -ltnp sport = {port}` names it"
    return "modbus.host must be an address of this machine"
