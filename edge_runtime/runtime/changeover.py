"""A take-over put into service between two parts: capture, office, workers and books change to the new recipes."""

from __future__ import annotations

from collections.abc import Iterable

from edge_runtime.runtime.children import Child, Role
from edge_runtime.runtime.desk import Desk
from edge_runtime.runtime.health import State
from edge_runtime.runtime.line_control import LineControl
from edge_runtime.runtime.messages import NewRecipes, Stop, TakeOver
from edge_runtime.runtime.recipes import RecipeFacts
from edge_runtime.runtime.supervisor import Supervisor
from edge_runtime.runtime.takeover import TakenOver, Takeover


class Changeover:
    """Owns the workers that go, and knows which recipes are in service. One thread; nothing blocks.

    `digests`: those in service, by number.
    """

    def __init__(self, takeover: Takeover, supervisor: Supervisor, desk: Desk, recipes: Iterable[RecipeFacts]) -> None:
        self.digests = {recipe.number: recipe.digest for recipe in recipes}
        self._takeover = takeover
        self._supervisor = supervisor
        self._desk = desk
        self._retiring: list[Child] = []

    def work(self, now_ns: int) -> None:
        """Put what is ready into service; let workers go that nothing needs any more. Call it often."""
        control = self._desk.control
        self._takeover.work(control is not None and self._supervisor.state is not State.STARTING, now_ns)
        if control is None:
            return
        new = self._takeover.complete(now_ns)
        if new is not None:
            self._change(control, new, now_ns)
        for worker in [each for each in self._retiring if not control.needs(each.spec.index)]:
            worker.tell(Stop())
            self._retiring.remove(worker)

    def _change(self, control: LineControl, new: TakenOver, now_ns: int) -> None:
        """Capture first: what it is asked before this is by the old recipes, what comes after by the new ones."""
        prepared = new.prepared
        self._supervisor.one(Role.CAPTURE).tell(TakeOver(new.load_no))
        self._supervisor.one(Role.OFFICE).tell(NewRecipes(prepared.settings))
        self._retiring += self._supervisor.replace_workers(new.workers)
        for child in self._supervisor.children:
            if child not in self._retiring:
                child.settings_json = prepared.settings
        self._supervisor.renew(Role.REPORTER)
        self.digests = {recipe.number: recipe.digest for recipe in prepared.recipes}
        self._desk.do(control.take_over(prepared.recipes, prepared.recipe_at_start, now_ns))
        for worker in new.workers:
            self._desk.do(control.worker_ready(worker.spec.index))
