"""From what the machine did, what the outputs did and what was told: the figures of a run. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_runtime.camera.belt import NO_PART_LABEL
from edge_runtime.clock import NS_PER_MS, NS_PER_S
from edge_runtime.interfaces import Output
from edge_runtime.signal_io.recording import Driven
from edge_runtime.simulation.far_end import Heard
from edge_runtime.simulation.faults import Excuse
from edge_runtime.simulation.machine import Seen
from edge_runtime.simulation.plan import RunPlan
from edge_runtime.simulation.truth import (
    Fate,
    FaultTally,
    Way,
    Window,
    active_spans,
    fate_of,
    is_hit,
    joined,
    missed_by_ns,
    still_spans,
)
from edge_runtime.values import InspectionRecord, Outcome

HEALTHY = "healthy"
BAD = (Fate.EJECTED_WRONG, Fate.MISSED)


@dataclass(frozen=True)
class WrongPart:
    """A part that the ejector treated wrongly: what the daemon said of it, and during which fault."""

    number: int
    fate: Fate
    during: str
    outcomes: tuple[str, ...]
    seen_s: float


@dataclass
class Findings:
    """All about a run."""

    parts: int = 0
    defective: int = 0
    fates: Counter[Fate] = field(default_factory=Counter)
    latency_ms: list[float] = field(default_factory=list)
    by_fault: dict[str, FaultTally] = field(default_factory=dict)
    wrong: list[WrongPart] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    repeats: int = 0
    daemon_starts: int = 0
    machine_late_ms: float = 0.0
    missed_by_ms: list[float] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not any(self.fates[fate] for fate in BAD) and not self.problems

    def as_json(self) -> dict[str, Any]:
        """The figures with the keys that are documented in docs/simulator.md."""
        return {
            "parts": self.parts,
            "defective": self.defective,
            **{fate.value: self.fates[fate] for fate in Fate},
            "latency_ms": {name: percentile(self.latency_ms, share) for name, share in PERCENTILES.items()},
            "by_fault": {name: _tally_json(tally) for name, tally in self.by_fault.items()},
            "wrong_parts": [{**vars(each), "fate": each.fate.value} for each in self.wrong],
            "problems": self.problems,
            "repeated_results": self.repeats,
            "daemon_starts": self.daemon_starts,
            "machine_late_ms": self.machine_late_ms,
            "missed_by_ms": percentile(self.missed_by_ms, 0.5),
        }


PERCENTILES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of all does not exceed; None without values."""
    if not values:
        return None
    ranked = sorted(values)
    return round(ranked[max(0, math.ceil(share * len(ranked)) - 1)], 2)


def _tally_json(tally: FaultTally) -> dict[str, Any]:
    return {
        "times": tally.times,
        "window_ms": round(tally.window_ms, 1),
        "parts": tally.parts,
        **{fate.value: tally.fates[fate] for fate in Fate},
    }


def ways_of(plan: RunPlan, start_ns: int) -> list[Way]:
    """Every part's way in monotonic time."""
    ways = []
    for part in plan.belt.parts:
        spans = [(_ns(a, start_ns), _ns(b, start_ns)) for a, b in plan.belt.at_ejector(part)]
        ways.append(Way(part.number, part.defective, _ns(plan.belt.seen_s(part), start_ns), tuple(spans), part.laid))
    return ways


def _ns(at_s: float, start_ns: int) -> int:
    return start_ns + round(at_s * NS_PER_S)


def find(
    plan: RunPlan,
    seen: Seen,
    windows: Sequence[Window],
    times: Mapping[str, int],
    driven: Sequence[Driven],
    beat_ns: int,
    records: Sequence[InspectionRecord],
    heard: Heard,
) -> Findings:
    """Compare everything with the truth. `driven` is the journal of the outputs, `beat_ns` one heartbeat."""
    ways = ways_of(plan, seen.start_ns)
    rejecting, silent = joined(active_spans(driven, Output.REJECT)), still_spans(driven, beat_ns)
    by_part = records_by_part(records, seen)
    findings = Findings(len(ways), sum(way.defective for way in ways), repeats=heard.repeats)
    findings.machine_late_ms = round(seen.latest_ns / NS_PER_MS, 1)
    findings.problems += [*seen.problems, *heard.contradictions, *unrecorded(records, heard)]
    findings.by_fault = {HEALTHY: FaultTally(), **{name: FaultTally(count) for name, count in times.items()}}
    last_ns = max(way.gone_ns for way in ways)
    for window in {(each.kind.name, each.from_ns): each for each in windows}.values():
        end_ns = min(window.to_ns, last_ns)
        findings.by_fault[window.kind.name].window_ms += max(0.0, (end_ns - window.from_ns) / NS_PER_MS)
    for way in ways:
        rows = by_part.get(way.number, [])
        met = [window for window in windows if window.meets(way)]
        told, unheard = is_hit(way, rejecting), is_hit(way, silent)
        _judge(findings, way, told, unheard, rows, met, seen.start_ns)
        findings.problems += [*row_problems(way, rows, met), *wire_problems(way, rows, met, heard)]
        if not met:
            aside_ns = missed_by_ns(way, rejecting) if way.defective and not (told or unheard) else None
            findings.missed_by_ms += [] if aside_ns is None else [aside_ns / NS_PER_MS]
            told_ns = [heard.results[row.trigger.part_id].at_ns for row in rows if row.trigger.part_id in heard.results]
            findings.latency_ms += [(at_ns - seen.triggered_ns[way.number]) / NS_PER_MS for at_ns in told_ns]
    return findings


def records_by_part(records: Sequence[InspectionRecord], seen: Seen) -> dict[int, list[InspectionRecord]]:
    """The rows of each belt part; a doubled edge makes two."""
    rows: dict[int, list[InspectionRecord]] = {}
    for record in records:
        number = (
            seen.part_at(record.trigger.at_ns)
            if record.line_seqno is None
            else seen.part_by_seqno.get(record.line_seqno)
        )
        if number is None:
            seen.problems.append(f"part_id {record.trigger.part_id} belongs to no part on the belt")
        else:
            rows.setdefault(number, []).append(record)
    return rows


def _judge(
    findings: Findings,
    way: Way,
    told: bool,
    unheard: bool,
    rows: Sequence[InspectionRecord],
    met: Sequence[Window],
    start_ns: int,
) -> None:
    """`told`: the reject output was active when the part was there; `unheard`: the heartbeat stood still."""
    has_verdict = bool(rows) and all(row.verdict.outcome is not Outcome.NOT_INSPECTED for row in rows)
    fate, window = fate_of(way, told or unheard, told and has_verdict, met)
    findings.fates[fate] += 1
    for name in {each.kind.name for each in met} or {HEALTHY}:
        findings.by_fault[name].parts += 1
    during = HEALTHY if window is None else window.kind.name
    findings.by_fault[during].fates[fate] += 1
    if fate in BAD:
        outcomes = tuple(f"{row.verdict.outcome.value} {' '.join(row.verdict.reasons)}".strip() for row in rows)
        seen_s = round((way.seen_ns - start_ns) / NS_PER_S, 3)
        findings.wrong.append(WrongPart(way.number, fate, during, outcomes, seen_s))


def row_problems(way: Way, rows: Sequence[InspectionRecord], met: Sequence[Window]) -> list[str]:
    """A part has one row, unless its edges were spoilt or nobody was there to see them; a laid one has none."""
    if len(rows) == (0 if way.laid else 1):
        return []
    if any(window.kind.excuse in (Excuse.ALL, Excuse.OWN_PART) for window in met) and not way.laid:
        return []
    return [f"part {way.number}: {len(rows)} records"]


def unrecorded(records: Sequence[InspectionRecord], heard: Heard) -> list[str]:
    """Results that were told and of which no record is left."""
    recorded = {record.trigger.part_id for record in records}
    return [f"part_id {part_id}: told and not recorded" for part_id in sorted(heard.results.keys() - recorded)]


def wire_problems(way: Way, rows: Sequence[InspectionRecord], met: Sequence[Window], heard: Heard) -> list[str]:
    """What was told of a part and is not so: a wrong verdict, another part's picture, a result that never came."""
    problems = []
    daemon_ended = any(window.kind.name.startswith("daemon_") for window in met)
    for row in rows:
        who = f"part {way.number} (part_id {row.trigger.part_id})"
        told = heard.results.get(row.trigger.part_id)
        if told is None and not daemon_ended:
            problems.append(f"{who}: its result never came over the wire")
        if told is not None and told.result.outcome is not row.verdict.outcome:
            problems.append(f"{who}: told {told.result.outcome.value}, recorded {row.verdict.outcome.value}")
        if row.verdict.outcome is Outcome.PASS and way.defective:
            problems.append(f"{who}: is defective and was passed")
        if row.label not in ("", NO_PART_LABEL, f"belt/{way.number}"):
            problems.append(f"{who}: judged by the picture {row.label}")
    return problems
