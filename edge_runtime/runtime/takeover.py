"""New recipes and models put into service while the line runs: proved beside the old ones, then taken over.

asked → the preparer reads and checks the settings → new workers prove their models, capture loads its templates → all
are ready: taken over between two parts. Whatever fails on the way, or takes too long, leaves everything as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edge_runtime.clock import NS_PER_MS
from edge_runtime.runtime.children import WORKERS_AT_MOST, Child, Role
from edge_runtime.runtime.messages import Loaded, NewRecipes, Prepared, Ready, Stop
from edge_runtime.runtime.supervisor import Supervisor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TakeoverPlan:
    """How its children are made: the preparer for the settings now in service, workers for new settings and a number.

    Both get settings as JSON; the workers' indices begin with the number. Neither starts anything. What is asked for
    and not in service within `within_ms` is refused.
    """

    preparer: Callable[[str], Child]
    workers: Callable[[str, int], Sequence[Child]]
    within_ms: float


@dataclass(frozen=True)
class TakenOver:
    """What goes into service: workers that have proved their models, and what capture has loaded under this number."""

    prepared: Prepared
    workers: Sequence[Child]
    load_no: int


@dataclass
class _Attempt:
    preparer: Child
    prepared: Prepared | None = None
    workers: Sequence[Child] = ()
    ready: set[int] = field(default_factory=set)
    capture_loaded: bool = False

    @property
    def digests(self) -> Mapping[int, str]:
        recipes = self.prepared.recipes if self.prepared is not None else ()
        return {recipe.number: recipe.digest for recipe in recipes}


class Takeover:
    """One attempt at a time; asked for meanwhile, another follows. `told` is how the last one stands, for people.

    One thread owns it; nothing blocks.
    """

    def __init__(self, plan: TakeoverPlan | None, supervisor: Supervisor, settings: str) -> None:
        """`settings`: those in service, as JSON. Without a plan every request is refused."""
        self.told = ""
        self._plan = plan
        self._supervisor = supervisor
        self._settings = settings
        self._is_asked = False
        self._since_ns: int | None = None  # the request under way, if there is one, since nothing was before it
        self._attempt: _Attempt | None = None
        self._load_no = 0
        self._first_index = 0

    def ask(self) -> None:
        self._is_asked = True

    def work(self, in_service: bool, now_ns: int) -> None:
        """Begin what was asked for once it can be, say what it waits for, end it when it waits too long.

        Call it several times a second. `in_service`: parts may come.
        """
        if self._attempt is None and self._is_asked:
            self._since_ns = now_ns if self._since_ns is None else self._since_ns
            if in_service and not self._supervisor.has_passing:
                self._begin(now_ns)
        if self._since_ns is None or self._plan is None:
            return
        waits = self._waits_for(in_service)
        if not waits:
            return
        if now_ns - self._since_ns > self._plan.within_ms * NS_PER_MS:
            self._is_asked = self._is_asked and self._attempt is not None
            self.refuse(f"not ready within {self._plan.within_ms / 1000:g} s, waiting for {waits}")
        else:
            self._say(f"waiting for {waits}")

    def lost_preparer(self, child: Child) -> bool:
        """Whether the preparer ended before it had prepared anything."""
        return self._attempt is not None and child is self._attempt.preparer and self._attempt.prepared is None

    def owns(self, child: Child) -> bool:
        """Whether what this child says is about the attempt alone."""
        attempt = self._attempt
        return attempt is not None and (child is attempt.preparer or child in attempt.workers)

    def prepared(self, child: Child, message: Prepared, now_ns: int) -> None:
        """The settings are valid: start what they need."""
        attempt = self._attempt
        if attempt is None or self._plan is None or child is not attempt.preparer or attempt.prepared is not None:
            return
        attempt.prepared = message
        attempt.preparer.tell(Stop())
        if message.settings == self._settings:
            log.info("the settings are the same: models and recipes are loaded anew")
        attempt.workers = self._plan.workers(message.settings, self._other_index())
        self.capture_ready(now_ns)
        for worker in attempt.workers:
            if not self._supervisor.admit(worker, now_ns):
                self.refuse(f"{worker.spec.name} cannot be started")
                return

    def capture_ready(self, now_ns: int) -> None:
        """Capture is there, perhaps anew: have it load the templates. Each time has a number."""
        attempt = self._attempt
        if attempt is not None and attempt.prepared is not None and self._supervisor.ready(Role.CAPTURE):
            attempt.capture_loaded = False
            self._load_no += 1
            load = NewRecipes(attempt.prepared.settings, self._load_no)
            self._supervisor.one(Role.CAPTURE).ask(load, now_ns)

    def loaded(self, message: Loaded) -> None:
        """Capture's answer; one to what was asked before counts for nothing."""
        if self._attempt is None or message.load_no != self._load_no:
            return
        if message.problem or not message.digests.items() <= self._attempt.digests.items():
            self.refuse(message.problem or "a template was changed meanwhile; ask again")
        else:
            self._attempt.capture_loaded = True

    def worker_ready(self, child: Child, message: Ready) -> None:
        """A new worker has proved its models, or has others than the preparer saw."""
        if self._attempt is None:
            return
        if message.digests != self._attempt.digests:
            self.refuse("a bundle or recipe was changed meanwhile; ask again")
            return
        self._attempt.ready.add(child.spec.index)

    def refuse(self, reason: str) -> None:
        """End what is under way: what is in service stays so."""
        if self._since_ns is None:
            return
        attempt, self._attempt, self._since_ns = self._attempt, None, None
        for child in (attempt.preparer, *attempt.workers) if attempt is not None else ():
            self._supervisor.expel(child)
        log.error("nothing is taken over, the old recipes and models stay in service: %s", reason)
        self._say(f"refused: {reason}")

    def complete(self, now_ns: int) -> TakenOver | None:
        """What to put into service now, once everything is ready."""
        attempt, since_ns = self._attempt, self._since_ns
        if attempt is None or attempt.prepared is None or since_ns is None or not self._capture_is_ready(attempt):
            return None
        if len(attempt.ready) < len(attempt.workers):
            return None
        self._attempt, self._since_ns, self._settings = None, None, attempt.prepared.settings
        self._first_index = attempt.workers[0].spec.index
        self._say(f"taken over in {(now_ns - since_ns) / NS_PER_MS:.0f} ms")
        return TakenOver(attempt.prepared, attempt.workers, self._load_no)

    def _begin(self, now_ns: int) -> None:
        self._is_asked = False
        self._load_no += 1  # an answer still on its way is none to this one
        if self._plan is None:
            self.refuse("this line was started without a settings file")
            return
        self._attempt = _Attempt(self._plan.preparer(self._settings))
        if not self._supervisor.admit(self._attempt.preparer, now_ns):
            self.refuse("the preparer cannot be started")

    def _waits_for(self, in_service: bool) -> str:
        """In words; empty: all is ready."""
        attempt = self._attempt
        if attempt is None and not in_service:
            return "the line to be in service"
        if attempt is None:
            return "the processes of the last take-over to end"
        if attempt.prepared is None:
            return "the settings to be read"
        waits = []
        if len(attempt.ready) < len(attempt.workers):
            waits.append(f"{len(attempt.workers) - len(attempt.ready)} of {len(attempt.workers)} new workers")
        if not self._capture_is_ready(attempt):
            waits.append("the templates" if self._supervisor.ready(Role.CAPTURE) else "the camera")
        return " and ".join(waits)

    def _capture_is_ready(self, attempt: _Attempt) -> bool:
        return attempt.capture_loaded and self._supervisor.ready(Role.CAPTURE)

    def _other_index(self) -> int:
        return 0 if self._first_index else WORKERS_AT_MOST

    def _say(self, told: str) -> None:
        if told[:500] != self.told:
            log.info("taking over: %s", told)
        self.told = told[:500]
