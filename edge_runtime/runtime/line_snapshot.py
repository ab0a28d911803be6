"""What the parent process knows of itself and its children, put together for everybody to see."""

from __future__ import annotations

from datetime import datetime

from edge_runtime.runtime.desk import Desk
from edge_runtime.runtime.line_control import LineControl
from edge_runtime.runtime.snapshot import Snapshot, shown
from edge_runtime.runtime.supervisor import Supervisor
from edge_runtime.values import Outcome


def line_snapshot(
    station: str,
    control: LineControl,
    desk: Desk,
    supervisor: Supervisor,
    takeover_told: str,
    engines: str,
    at: datetime,
    now_ns: int,
) -> Snapshot:
    """The line at `at` (UTC), which is `now_ns` on the monotonic clock."""
    counters, outcomes, recipe = control.counters, control.counters.outcomes, control.recipes.selected
    return Snapshot(
        at=at,
        station=station,
        state=supervisor.state.value,
        faults=tuple(sorted(fault.value for fault in supervisor.faults)),
        triggers=counters.triggers,
        passed=outcomes[Outcome.PASS],
        rejected=outcomes[Outcome.REJECT],
        not_inspected=outcomes[Outcome.NOT_INSPECTED],
        not_inspected_by_reason=dict(counters.not_inspected_by_reason),
        in_flight=control.parts_in_flight,
        late=counters.late,
        triggers_per_minute=float(desk.triggers_per_minute(now_ns)),
        pending_records=control.pending_records,
        pictures_dropped=counters.pictures_dropped,
        records_dropped=counters.records_dropped,
        unacknowledged=desk.signals.unacknowledged,
        wire=desk.signals.counts(),
        restarts=dict(supervisor.restarts),
        model_id=recipe.model_id,
        recipe_id=recipe.name,
        recipe_number=recipe.number,
        recipe_digest=recipe.digest,
        last_verdicts=shown(control.last_verdicts),
        stop_reason=desk.stop_rule.reason,
        stop_demands=desk.stop_rule.demands,
        tracking=desk.signals.tracking(now_ns),
        tiles=counters.tiles,
        reporter_trouble=supervisor.reporter_trouble,
        takeover=takeover_told,
        engines=engines,
    )
