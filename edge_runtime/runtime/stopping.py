"""The way out, in its order: open parts, acknowledgements, safe outputs, records, children."""

from __future__ import annotations

import logging

from edge_runtime.clock import NS_PER_MS
from edge_runtime.runtime.children import Role
from edge_runtime.runtime.desk import Desk
from edge_runtime.runtime.line_control import LineControl
from edge_runtime.runtime.supervisor import Supervisor

log = logging.getLogger(__name__)
# Open parts may still be inspected for a second; after two the outputs are safe; children end within 2.6 s.
# Only the office is waited for longer: it may have records yet to commit, being started again, or pictures to save.
OPEN_PARTS_GRACE_NS = 1000 * NS_PER_MS
ACKNOWLEDGE_GRACE_NS = 2000 * NS_PER_MS
EXIT_WITHIN_NS = 2600 * NS_PER_MS
CHILDREN_GRACE_NS = 500 * NS_PER_MS
OFFICE_GRACE_NS = 20_000 * NS_PER_MS


class Stopping:
    """Whether the line is to stop, and how far it is. `ask` may come from a signal handler; nothing blocks."""

    def __init__(self, desk: Desk, supervisor: Supervisor) -> None:
        self._desk = desk
        self._supervisor = supervisor
        self._asked_ns: int | None = None
        self._end_children_at_ns: int | None = None  # after the request to stop

    @property
    def is_asked(self) -> bool:
        return self._asked_ns is not None

    def ask(self, now_ns: int) -> None:
        if self._asked_ns is None:
            self._asked_ns = now_ns
            self._desk.is_stopping = True

    def finished(self, control: LineControl | None, now_ns: int) -> bool:
        """Take the next step; True when parts are answered, records on disk, or the time for it is over."""
        assert self._asked_ns is not None
        self._supervisor.stop()
        since_ns = now_ns - self._asked_ns
        if control is not None and control.parts_in_flight:
            if since_ns > OPEN_PARTS_GRACE_NS:
                self._desk.do(control.give_up_all("stopping", now_ns))
            return False
        if self._desk.signals.unheard and since_ns < ACKNOWLEDGE_GRACE_NS:
            return False
        self._desk.signals.close("stopped", now_ns)
        return self._records_kept(control, since_ns) and self._children_ended(since_ns)

    def _records_kept(self, control: LineControl | None, since_ns: int) -> bool:
        if control is None or not control.pending_records:
            return True
        if since_ns < OFFICE_GRACE_NS:
            return False
        log.error("%d records could not be kept: the office does not commit them", control.pending_records)
        return True

    def _children_ended(self, since_ns: int) -> bool:
        """Ask the children, once, to finish; True when all have, or when it is time to end them."""
        if self._end_children_at_ns is None:
            self._end_children_at_ns = max(EXIT_WITHIN_NS, since_ns + CHILDREN_GRACE_NS)
            self._supervisor.dismiss([role for role in Role if role is not Role.GUARD])
        running = {child.spec.role for child in self._supervisor.children if child.running} - {Role.GUARD}
        office_until_ns = OFFICE_GRACE_NS if Role.OFFICE in running else 0
        return not running or since_ns > max(self._end_children_at_ns, office_until_ns)
