"""The line's end of the field bus process: what masters want is done, and what has changed is shown to them."""

from __future__ import annotations

from edge_runtime.runtime.children import Role
from edge_runtime.runtime.desk import Desk
from edge_runtime.runtime.messages import FieldCommands, FieldImage, FieldTrouble, MessageError
from edge_runtime.runtime.signals import Signals
from edge_runtime.runtime.supervisor import Supervisor


class FieldLink:
    """Between the process and the wire of the field bus, where there is one. One thread; nothing blocks."""

    def __init__(self, signals: Signals, desk: Desk, supervisor: Supervisor) -> None:
        self._field = signals.field
        self._desk = desk
        self._supervisor = supervisor

    def hear(self, message: FieldCommands | FieldTrouble, now_ns: int) -> None:
        """Raises MessageError where there is no field bus."""
        if self._field is None:
            raise MessageError(f"a {message.kind} message came without a field bus")
        if isinstance(message, FieldTrouble):
            self._field.trouble = message.reason
            return
        for event in self._field.obey(message, now_ns):
            self._desk.on_event(event)

    def child_ready(self) -> None:
        """It may be the field bus, which knows nothing yet."""
        if self._field is not None:
            self._field.has_news = True

    def show(self) -> None:
        """Tell the field bus what has changed; one that is slow gets the newest state when it has read the last."""
        if self._field is None or not self._supervisor.ready(Role.FIELDBUS):
            return
        child = self._supervisor.one(Role.FIELDBUS)
        if child.has_unsent:
            return
        state = self._field.news(self._supervisor.state, self._desk.counters)
        if state is not None:
            child.tell(FieldImage(state))
