"""New recipes and models put into service while the line runs: proved beside the old ones, then taken over.

asked → the preparer reads and checks the settings → new workers prove their models, capture loads its templates → all
are ready: taken over between two parts. Whatever fails on the way leaves everything as it was.
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

    Both get settings as JSON; the workers' indices begin with the number. Neither starts anything.
    """

    preparer: Callable[[str], Child]
    workers: Callable[[str, int], Sequence[Child]]


@dataclass
class _Attempt:
    began_ns: int
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
        self._attempt: _Attempt | None = None
        self._first_index = 0

    def ask(self) -> None:
        self._is_asked = True

    def work(self, now_ns: int) -> None:
        """Begin what was asked for, once nothing is left of what was before; call it while the line is in service."""
        if not self._is_asked or self._attempt is not None or self._supervisor.has_passing:
            return
        self._is_asked = False
        if self._plan is None:
            self._say("refused: this line was started without a settings file")
            return
        attempt = self._attempt = _Attempt(now_ns, self._plan.preparer(self._settings))
        self._say("reading the settings")
        if not self._supervisor.admit(attempt.preparer, now_ns):
            self.refuse("the preparer cannot be started")

    def lost_preparer(self, child: Child) -> bool:
        """Whether the preparer ended before it had prepared anything."""
        return self._attempt is not None and child is self._attempt.preparer and self._attempt.prepared is None

    def owns(self, child: Child) -> bool:
        """Whether what this child says is about the attempt alone."""
        attempt = self._attempt
        return attempt is not None and (child is attempt.preparer or child in attempt.workers)

    def prepared(self, message: Prepared, now_ns: int) -> None:
        """The settings are valid: start what they need."""
        attempt = self._attempt
        if attempt is None or self._plan is None or attempt.prepared is not None:
            return
        attempt.prepared = message
        attempt.preparer.tell(Stop())
        if message.settings == self._settings:
            log.info("the settings are the same: models and recipes are loaded anew")
        attempt.workers = self._plan.workers(message.settings, self._other_index())
        self._say(f"proving the models in {len(attempt.workers)} new workers")
        self.capture_ready(now_ns)
        for worker in attempt.workers:
            if not self._supervisor.admit(worker, now_ns):
                self.refuse(f"{worker.spec.name} cannot be started")
                return

    def capture_ready(self, now_ns: int) -> None:
        """Capture is there, perhaps anew: have it load the templates."""
        attempt = self._attempt
        if attempt is not None and attempt.prepared is not None and self._supervisor.ready(Role.CAPTURE):
            attempt.capture_loaded = False
            self._supervisor.one(Role.CAPTURE).ask(NewRecipes(attempt.prepared.settings), now_ns)

    def loaded(self, message: Loaded) -> None:
        """Capture's answer."""
        if self._attempt is None:
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
        """End the attempt: what is in service stays so."""
        if self._attempt is None:
            return
        attempt, self._attempt = self._attempt, None
        for child in (attempt.preparer, *attempt.workers):
            child.kill()
        log.error("nothing is taken over, the old recipes and models stay in service: %s", reason)
        self._say(f"refused: {reason}")

    def complete(self, now_ns: int) -> tuple[Prepared, Sequence[Child]] | None:
        """What to put into service now, once everything is ready."""
        attempt = self._attempt
        if attempt is None or attempt.prepared is None or not attempt.capture_loaded:
            return None
        if len(attempt.ready) < len(attempt.workers):
            return None
        self._attempt, self._settings = None, attempt.prepared.settings
        self._first_index = attempt.workers[0].spec.index
        self._say(f"taken over in {(now_ns - attempt.began_ns) / NS_PER_MS:.0f} ms")
        return attempt.prepared, attempt.workers

    def _other_index(self) -> int:
        return 0 if self._first_index else WORKERS_AT_MOST

    def _say(self, told: str) -> None:
        log.info("taking over: %s", told)
        self.told = told[:500]
