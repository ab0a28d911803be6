"""Field bus child: shows masters what the line says, and tells the line what they write."""

from __future__ import annotations

import logging
import select
import signal
from collections import deque
from collections.abc import Sequence

from edge_runtime.clock import NS_PER_MS, NS_PER_S, Clock
from edge_runtime.errors import SignalError
from edge_runtime.interfaces import RegisterServer
from edge_runtime.protocol.modbus_bank import Command, RegisterBank
from edge_runtime.protocol.modbus_image import FieldState
from edge_runtime.runtime.channel import Channel, ChannelClosed, ChannelFull
from edge_runtime.runtime.messages import FieldCommands, FieldImage, FieldTrouble, Message, Ping, Pong, Ready, Stop

log = logging.getLogger(__name__)
DOWN = FieldState()
TURN_MS = 100
RETRY_NS = 1000 * NS_PER_MS
DOWN_SHOWN_NS = 1000 * NS_PER_MS
STOP_SHOWN_NS = 300 * NS_PER_MS
MAX_WRITES_PER_S = 500  # no controller's cycle needs more, and the line must not drown in commands
STUCK_AFTER_S = 10


class Fieldbus:
    """Owns the register server.

    Masters see a box that is down (`FieldState()`: not ready, fault, no result) until the line has spoken, while it
    has been silent for `stale_ms`, and for a moment at the end; then they are hung up on.
    """

    def __init__(
        self, channel: Channel, server: RegisterServer, bank: RegisterBank, stale_ms: float, clock: Clock
    ) -> None:
        """`bank` holds the registers that `server` answers from."""
        self._channel = channel
        self._server = server
        self._bank = bank
        self._bank.hand_to(self._take_commands)
        self._stale_ns = round(stale_ms * NS_PER_MS)
        self._clock = clock
        self._is_open = False
        self._retry_at_ns = 0
        self._trouble: str | None = None  # not known yet: the line may still know of an earlier process's
        self._image_at_ns: int | None = None
        self._taken_at_ns: deque[int] = deque(maxlen=MAX_WRITES_PER_S)

    def serve(self) -> None:
        """Work until told to stop, or until the line is gone."""
        try:
            self._channel.send_patiently(Ready())
            while self._turn([self._channel.fileno()]):
                pass
            self._say_down(STOP_SHOWN_NS)
        except ChannelClosed:
            log.error("the line is gone; telling masters so, then hanging up")
            self._say_down(DOWN_SHOWN_NS)
        finally:
            self._server.close()

    # -- inside -------------------------------------------------------------------------------------------------

    def _turn(self, also: Sequence[int]) -> bool:
        """One round of waiting and serving; False after Stop."""
        signal.alarm(STUCK_AFTER_S)  # should this loop ever stick, the kernel ends the process, with or without a line
        self._open_if_due()
        sources = self._server.sources() if self._is_open else {}
        poller = select.poll()
        for fd, events in (sources | dict.fromkeys(also, select.POLLIN)).items():
            poller.register(fd, events)
        ready = [fd for fd, _ in poller.poll(TURN_MS)]
        if any(fd in ready for fd in also) and not self._hear_line():
            return False
        self._forget_stale()
        self._serve_masters([fd for fd in ready if fd in sources])
        return True

    def _hear_line(self) -> bool:
        """Read everything that waits and show the newest image alone; False after Stop."""
        newest: FieldState | None = None
        while (message := self._channel.receive()) is not None:
            if isinstance(message, Stop):
                return False
            if isinstance(message, FieldImage):
                newest = message.state
            elif isinstance(message, Ping):
                self._tell(Pong())
        if newest is not None:
            self._image_at_ns = self._clock.monotonic_ns()
            self._bank.show(newest)
        return True

    def _forget_stale(self) -> None:
        """A line that says nothing, not even a heartbeat, is not to be trusted with what it said before."""
        if self._image_at_ns is not None and self._clock.monotonic_ns() - self._image_at_ns > self._stale_ns:
            log.error("the line has been silent for %.1f s: masters see a box that is down", self._stale_ns / 1e9)
            self._image_at_ns = None
            self._bank.show(DOWN)

    def _serve_masters(self, fds: Sequence[int]) -> None:
        try:
            for fd in fds:
                self._server.serve(fd, self._clock.monotonic_ns())
        except SignalError as exc:
            self._lost(exc)

    def _take_commands(self, commands: Sequence[Command]) -> bool:
        """False, and the master is told to try again, while the line does not listen or is asked too much."""
        now_ns, taken = self._clock.monotonic_ns(), self._taken_at_ns
        if len(taken) == MAX_WRITES_PER_S and now_ns - taken[0] < NS_PER_S:
            return False
        try:
            self._channel.send(FieldCommands(tuple(commands), now_ns))
            taken.append(now_ns)
            return True
        except (ChannelFull, ChannelClosed):
            return False

    # -- the port -----------------------------------------------------------------------------------------------

    def _open_if_due(self) -> None:
        if self._is_open or self._clock.monotonic_ns() < self._retry_at_ns:
            return
        try:
            self._server.open()
        except SignalError as exc:
            self._lost(exc)
            return
        self._is_open = True
        self._say_trouble("")

    def _lost(self, exc: SignalError) -> None:
        self._server.close()
        self._is_open, self._retry_at_ns = False, self._clock.monotonic_ns() + RETRY_NS
        self._say_trouble(str(exc))

    def _say_trouble(self, reason: str) -> None:
        """On a change only: the first failure and the recovery."""
        if self._trouble is None or bool(reason) != bool(self._trouble):
            log.log(logging.ERROR if reason else logging.INFO, "%s", reason or "the port is open")
            self._tell(FieldTrouble(reason[:2000]))
        self._trouble = reason

    def _tell(self, message: Message) -> None:
        self._channel.send_patiently(message)

    # -- the end ------------------------------------------------------------------------------------------------

    def _say_down(self, for_ns: int) -> None:
        """A master that keeps its last values when a connection drops would keep `ready`: let it read the truth."""
        self._bank.show(DOWN)
        self._image_at_ns = None
        until_ns = self._clock.monotonic_ns() + for_ns
        while self._is_open and self._clock.monotonic_ns() < until_ns:
            self._turn([])
