"""The line's end of the office: records, repeated until they are committed, and what is to be remembered."""

from __future__ import annotations

from edge_runtime.runtime.children import Role
from edge_runtime.runtime.line_control import LineControl
from edge_runtime.runtime.messages import Archive, KeepGate, KeepRecipe
from edge_runtime.runtime.supervisor import Supervisor

RECORDS_PER_REPEAT = 500


class OfficeLink:
    """What the office that is ready now has been told, and what it has yet to be told. One thread; nothing blocks."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._kept_recipe: int | None = None
        self._kept_gate = ""
        self._repeat_records = False

    def office_ready(self, kept_recipe: int | None, kept_gate: str) -> None:
        """A new office remembers this recipe and this model, and may have missed records."""
        self._kept_recipe, self._kept_gate = kept_recipe, kept_gate
        self._repeat_records = True

    def keep_recipe(self, control: LineControl) -> None:
        """Have the selected number remembered by an office that does not know it yet."""
        if not self._supervisor.ready(Role.OFFICE):
            return
        number = control.recipes.selected.number
        if number != self._kept_recipe and self._supervisor.one(Role.OFFICE).tell(KeepRecipe(number)):
            self._kept_recipe = number

    def keep_gate(self, closed_by: str) -> None:
        """Have it remembered by which model the gate was closed, "" for an open one."""
        if closed_by == self._kept_gate or not self._supervisor.ready(Role.OFFICE):
            return
        if self._supervisor.one(Role.OFFICE).tell(KeepGate(closed_by)):
            self._kept_gate = closed_by

    def archive(self, action: Archive, control: LineControl) -> None:
        """Hand a record over, or note that it must be repeated; its picture is dropped then, and counted."""
        if self._supervisor.ready(Role.OFFICE) and self._supervisor.one(Role.OFFICE).tell(action):
            return
        self._repeat_records = True
        if action.slot is not None:
            control.counters.pictures_dropped += 1
            control.slot_read(action.record.trigger.part_id)

    def repeat_records_if_due(self, control: LineControl) -> None:
        """Bring again to the office what it has not confirmed since it was away or overwhelmed."""
        if not self._repeat_records or not self._supervisor.ready(Role.OFFICE):
            return
        office = self._supervisor.one(Role.OFFICE)
        if office.has_unsent:
            return
        records = control.records_to_repeat(RECORDS_PER_REPEAT)
        self._repeat_records = len(records) == RECORDS_PER_REPEAT
        for record in records:
            office.tell(record)
