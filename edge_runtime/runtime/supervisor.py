"""Keeps the children alive within their budgets, and says what state the box is in."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from edge_runtime.clock import NS_PER_S
from edge_runtime.processes import bury_strangers
from edge_runtime.runtime.children import Child, Role
from edge_runtime.runtime.fork_server import ForkServer
from edge_runtime.runtime.health import RESTART_MAY_HELP, Fault, State, move, next_state
from edge_runtime.runtime.line_control import LineControl
from edge_runtime.runtime.messages import Stop
from edge_runtime.runtime.service_notify import ServiceNotifier
from edge_runtime.runtime.signals import Signals

log = logging.getLogger(__name__)
FAULT_PATIENCE_NS = 30 * NS_PER_S


class Supervisor:
    """Owns the child processes, the state and the standing faults. One thread owns it; nothing blocks."""

    def __init__(
        self, children: Sequence[Child], notifier: ServiceNotifier, fork_server: ForkServer | None = None
    ) -> None:
        self.children = list(children)
        self.workers = {c.spec.index: c for c in children if c.spec.role is Role.INSPECTION}
        self.state = State.STARTING
        self.faults: frozenset[Fault] = frozenset()
        self.storage_trouble = ""
        self.camera_trouble = ""
        self.reporter_trouble = ""
        self.restarts: Counter[str] = Counter()
        self._notifier = notifier
        self._fork_server = fork_server
        self._started = False
        self._fault_since_ns: int | None = None
        self._dismissed: set[Role] = set()
        self._passing: list[Child] = []
        self._renewed: set[Role] = set()

    def one(self, role: Role) -> Child:
        """The only child of this role."""
        return next(child for child in self.children if child.spec.role is role)

    @property
    def has_passing(self) -> bool:
        """Whether a child is here that was admitted, or has been replaced."""
        return bool(self._passing)

    def worker(self, index: int) -> Child:
        """The worker of this number, whether it is one of `workers` or was before a take-over."""
        return next(c for c in self.children if c.spec.role is Role.INSPECTION and c.spec.index == index)

    def ready(self, role: Role) -> bool:
        return any(child.ready for child in self.children if child.spec.role is role)

    def start_all(self, now_ns: int) -> None:
        for child in self.children:
            child.start(now_ns)

    def admit(self, child: Child, now_ns: int) -> bool:
        """Start one more child, which is not started again when it ends, and whose end is no fault; whether it runs."""
        child.start(now_ns)
        if child.running:
            self.children.append(child)
            self._passing.append(child)
        return child.running

    def expel(self, child: Child) -> None:
        """End an admitted child, also one that waits to be started."""
        child.kill()
        if not child.running:
            self._forget_passing(child)

    def replace_workers(self, newcomers: Sequence[Child]) -> list[Child]:
        """From now on these admitted children are the workers; those before are kept only as long as they live.

        One that is not ready is ended: its model would be one that is not in service any more.
        """
        old = list(self.workers.values())
        living = [child for child in old if child.running]
        self._passing = [child for child in self._passing if child not in newcomers] + living
        self.workers = {child.spec.index: child for child in newcomers}
        self.children = [child for child in self.children if child.running or child not in old]
        for child in living:
            if not child.ready:
                child.kill()
        return living

    def renew(self, role: Role) -> None:
        """Have the children of this role end in order and start anew, with the settings they have then."""
        for child in self.children:
            if child.spec.role is role and child.running:
                self._renewed.add(role)
                child.tell(Stop())

    def gone(self, child: Child, now_ns: int) -> None:
        """A child has ended: note how, and plan its restart."""
        how = child.reap(now_ns)
        self._forget_passing(child)
        if child not in self.children:
            log.info("%s %s", child.spec.name, how)
            return
        if child.spec.role is Role.CAPTURE:
            self.camera_trouble = ""
        if child.spec.role is Role.REPORTER:
            self.reporter_trouble = ""
        if self.state is State.STOPPING:
            return
        if child.spec.role in self._renewed:
            self._renewed.discard(child.spec.role)
            child.restart_at_ns = now_ns
            return
        self.restarts[child.spec.name] += 1
        pace = "slowly, its restart budget is spent" if child.budget.spent(now_ns) else "at once"
        log.error("%s %s; starting it again %s", child.spec.name, how, pace)

    def tick(self, now_ns: int) -> bool:
        """Kill what hangs, ask the idle for a sign of life, start one child that is due; True when more are due.

        Starting a process takes milliseconds: parts near their deadline come in between.
        """
        for child in self.children:
            overdue_ns = child.overdue_ns()
            if overdue_ns is not None and now_ns >= overdue_ns:
                if not self._has_finished(child):
                    log.error("%s has not answered in time; killing it", child.spec.name)
                child.kill()
            child.tend(now_ns)
        due = [child for child in self.children if self._is_due(child, now_ns)]
        for child in due[:1]:
            child.start(now_ns)
        if not due:
            self._tend_others(now_ns)
        return len(due) > 1

    def judge(self, control: LineControl | None, signals: Signals, latched: Collection[Fault], now_ns: int) -> None:
        """Set the state that follows from children, control and signals; log and tell each edge once.

        `latched`: faults that stand until a reset.
        """
        if self.state is State.STOPPING:
            return
        faults = frozenset(self._standing_faults(control, signals)) | frozenset(latched)
        if not self._started:
            all_ready = control is not None and all(child.ready for child in self._needed())
            self._started = all_ready and not faults & RESTART_MAY_HELP
        if self._started or self._starting_failed(now_ns):
            self._tell_edges(faults, signals)
        self._enter(next_state(self.state, self._started, self.faults, control.parts_in_flight if control else 0))
        self._feed_watchdog(now_ns)

    def stop(self) -> None:
        if self.state is not State.STOPPING:
            self._enter(State.STOPPING)
            self._notifier.stopping()

    def dismiss(self, roles: Collection[Role]) -> None:
        """Ask these children to finish and exit."""
        self._dismissed.update(roles)
        for child in self.children:
            if child.spec.role in roles:
                child.tell(Stop())

    def kill_all(self) -> None:
        for child in self.children:
            if child.spec.role is not Role.GUARD:
                child.kill()

    # -- inside -------------------------------------------------------------------------------------------------

    def _tend_others(self, now_ns: int) -> None:
        """Those of our processes that are no children of the table."""
        server = self._fork_server
        if server is not None and self.state is not State.STOPPING:
            server.tend(now_ns)
        if all(child.birth is None for child in self.children):  # one that is being made is no stranger
            bury_strangers([child.pid for child in self.children] + ([server.pid] if server else []))

    def _forget_passing(self, child: Child) -> None:
        """One that was admitted or replaced is not started again."""
        if child in self._passing:
            self._passing.remove(child)
            self.children.remove(child)

    def _has_finished(self, child: Child) -> bool:
        """Asked to finish, it has closed its channel: all that is left is the interpreter's own end."""
        return child.channel is None and child.spec.role in self._dismissed

    def _is_due(self, child: Child, now_ns: int) -> bool:
        """Whether to start a dead child again now; a daemon that stops still needs the records on disk."""
        if child.restart_at_ns is None or now_ns < child.restart_at_ns:
            return False
        if self.state is State.STOPPING:
            return child.spec.role is Role.OFFICE and Role.OFFICE not in self._dismissed
        return True

    def _standing_faults(self, control: LineControl | None, signals: Signals) -> Iterable[Fault]:
        workers_ready = sum(worker.ready for worker in self.workers.values())
        serial, field = signals.serial, signals.field
        facts = {
            Fault.CAMERA: not self.ready(Role.CAPTURE) or bool(self.camera_trouble),
            Fault.WORKERS: workers_ready == 0,
            Fault.WORKER: workers_ready < len(self.workers),
            Fault.OFFICE: not self.ready(Role.OFFICE),
            Fault.GUARD: not self.ready(Role.GUARD),
            Fault.STORAGE: bool(self.storage_trouble),
            Fault.RECORDS: control is not None and control.records_full,
            Fault.SERIAL: serial is not None and not serial.is_open,
            Fault.ACKNOWLEDGE: signals.unheeded,
            Fault.FIELDBUS: field is not None and (not self.ready(Role.FIELDBUS) or bool(field.trouble)),
            Fault.ENCODER: signals.encoder_is_silent,
            Fault.RECIPE: control is not None and control.recipe_missing,
            Fault.GPIO: signals.lines is not None and not signals.lines.is_open,
        }
        return (fault for fault, stands in facts.items() if stands)

    def _starting_failed(self, now_ns: int) -> bool:
        """Whether a child that was never ready has already used up its restarts."""
        return any(child.budget.spent(now_ns) and not child.ready for child in self._needed())

    def _needed(self) -> Iterable[Child]:
        """All but the reporter, without which the line does as well."""
        passing = self._passing
        return (child for child in self.children if child.spec.role is not Role.REPORTER and child not in passing)

    def _tell_edges(self, faults: frozenset[Fault], signals: Signals) -> None:
        for fault in sorted(faults ^ self.faults):
            raised = fault in faults
            log.log(
                logging.WARNING if raised else logging.INFO,
                "fault %s %s",
                fault.value,
                "raised" if raised else "cleared",
            )
            signals.fault(fault.value, raised)
        self.faults = faults

    def _enter(self, wanted: State) -> None:
        if wanted is self.state:
            return
        routine = {self.state, wanted} == {State.READY, State.INSPECTING}
        log.log(logging.DEBUG if routine else logging.INFO, "state %s -> %s", self.state.value, wanted.value)
        if self.state is State.STARTING and wanted is not State.STOPPING:
            self._notifier.ready()
        self.state = move(self.state, wanted)
        if not routine:
            self._notifier.status(f"{wanted.value} {' '.join(sorted(self.faults))}".strip())

    def _feed_watchdog(self, now_ns: int) -> None:
        """Alive means: capture, inspection and line control move, or have not been still for long.

        A box that waits for a controller to select a recipe is alive.
        """
        if self.state is not State.FAULT or (self._started and not self.faults & RESTART_MAY_HELP):
            self._fault_since_ns = None
        elif self._fault_since_ns is None:
            self._fault_since_ns = now_ns
        if self._fault_since_ns is None or now_ns - self._fault_since_ns < FAULT_PATIENCE_NS:
            self._notifier.alive()
