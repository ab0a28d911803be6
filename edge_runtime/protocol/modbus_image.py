"""What the box has to say to a field bus, and the register image it becomes: pure, no port, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_runtime.protocol.modbus_map import (
    COMMANDS,
    COUNTERS,
    DEFECTS_SHOWN,
    MAP_VERSION,
    OUTCOMES,
    REASON_NONE,
    REASON_OTHER,
    REASON_RECIPE,
    REASONS,
    REGISTERS,
    STATES,
    WORD_MAX,
    WordOrder,
    number_of,
    words_of,
)
from edge_runtime.values import Defect, Outcome, Verdict, Zone

MM2_UNIT = 0.01


@dataclass(frozen=True)
class FieldDefect:
    """A defect in the registers' units: `box` x_min, y_min, x_max, y_max in 0.1 mm or px, area in 0.01 mm² or px."""

    class_id: int
    box: tuple[int, int, int, int]
    area: int
    score_permille: int

    @classmethod
    def of(cls, defect: Defect, mm_per_px: float | None) -> FieldDefect:
        per_px = 1.0 if mm_per_px is None else mm_per_px * 10
        x0, y0, x1, y1 = (round(edge * per_px) for edge in defect.xyxy_px)
        area = defect.area_px * (1.0 if mm_per_px is None else mm_per_px**2 / MM2_UNIT)
        return cls(defect.class_id, (x0, y0, x1, y1), round(area), round(defect.score * 1000))


@dataclass(frozen=True)
class FieldResult:
    """A result as the registers show it."""

    part_id: int
    line_seqno: int | None
    outcome: Outcome
    reason: int
    defect_count: int
    in_mm: bool
    defects: tuple[FieldDefect, ...]

    @classmethod
    def of(cls, verdict: Verdict, line_seqno: int | None, mm_per_px: float | None) -> FieldResult:
        """With the `DEFECTS_SHOWN` largest defects of the inspected zone."""
        inspected = (defect for defect in verdict.defects if defect.zone is Zone.INSPECT)
        largest = sorted(inspected, key=lambda defect: -defect.area_px)[:DEFECTS_SHOWN]
        return cls(
            verdict.part_id,
            line_seqno,
            verdict.outcome,
            reason_code(verdict),
            verdict.defect_count,
            mm_per_px is not None,
            tuple(FieldDefect.of(defect, mm_per_px) for defect in largest),
        )


def reason_code(verdict: Verdict) -> int:
    """The first reason's code: a limit of the recipe, one of `REASONS`, or other."""
    if not verdict.reasons:
        return REASON_NONE
    if verdict.outcome is Outcome.REJECT:
        return REASON_RECIPE
    return REASONS.get(verdict.reasons[0], REASON_OTHER)


@dataclass(frozen=True)
class FieldState:
    """Everything the registers show at one moment. The default is what a box shows that is down."""

    state: str = "down"
    heartbeat: int = 0
    ready: bool = False
    busy: bool = False
    fault: bool = True
    overrun: bool = False
    stop: bool = False
    takes_triggers: bool = False
    accepted_seqno: int = 0
    accepted_part_id: int = 0
    recipe_number: int = 0
    recipe_digest: int = 0
    waiting: int = 0
    counters: tuple[int, ...] = (0,) * len(COUNTERS)
    result_id: int = 0
    result: FieldResult | None = None
    commands: tuple[int, ...] = (0,) * len(COMMANDS)

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"state {self.state!r} is none of {', '.join(STATES)}")
        if len(self.counters) != len(COUNTERS) or len(self.commands) != len(COMMANDS):
            raise ValueError(f"{len(COUNTERS)} counters and {len(COMMANDS)} commands are needed")
        if (self.result_id == 0) is not (self.result is None):
            raise ValueError("a result has an id from 1 to 65535, no result has id 0")
        if self.ready and (self.fault or self.busy):
            raise ValueError("ready excludes busy and fault")


def status_bits(state: FieldState) -> dict[str, bool]:
    """By name, in the order of `STATUS_BITS`."""
    outcome = state.result.outcome if state.result is not None else None
    return {
        "ready": state.ready,
        "busy": state.busy,
        "result_valid": outcome is not None,
        "ok": outcome is Outcome.PASS,
        "reject": outcome in (Outcome.REJECT, Outcome.NOT_INSPECTED),
        "not_inspected": outcome is Outcome.NOT_INSPECTED,
        "overrun": state.overrun,
        "stop": state.stop,
        "fault": state.fault,
        "degraded": state.state == "degraded",
        "beat": state.heartbeat % 2 == 1,
        "takes_triggers": state.takes_triggers,
    }


# -- the image --------------------------------------------------------------------------------------------------


def image_of(state: FieldState, refused: int = 0, word_order: WordOrder = "big") -> dict[int, int]:
    """Address -> word, for every register of the map; numbers too large for their register are shown as its largest."""
    commands = dict(zip(COMMANDS, state.commands, strict=True))
    numbers = _status_numbers(state, refused) | _result_numbers(state) | commands
    image: dict[int, int] = {}
    for register in REGISTERS:
        words = words_of(numbers.get(register.name, 0), register.words, word_order)
        image.update(enumerate(words, register.address))
    return image


def numbers_of(image: Mapping[int, int] | Sequence[int], word_order: WordOrder = "big") -> dict[str, int]:
    """Register name -> number; the inverse of `image_of`, for the registers that are wholly in `image`."""
    words = image if isinstance(image, Mapping) else dict(enumerate(image))
    return {
        register.name: number_of([words[register.address + n] for n in range(register.words)], word_order)
        for register in REGISTERS
        if register.address in words and register.address + register.words - 1 in words
    }


def _status_numbers(state: FieldState, refused: int) -> dict[str, int]:
    bits = sum(1 << number for number, is_set in enumerate(status_bits(state).values()) if is_set)
    return {
        "map_version": MAP_VERSION,
        "state": STATES.index(state.state),
        "status_bits": bits,
        "heartbeat": state.heartbeat % (WORD_MAX + 1),
        "accepted_seqno": state.accepted_seqno,
        "refused": refused,
        "accepted_part_id": state.accepted_part_id,
        "recipe_number": state.recipe_number,
        "waiting": state.waiting,
        "recipe_digest": state.recipe_digest,
        **dict(zip(COUNTERS, state.counters, strict=True)),
    }


def _result_numbers(state: FieldState) -> dict[str, int]:
    result = state.result
    if result is None:
        return {}
    numbers = {
        "result_id": state.result_id,
        "outcome": OUTCOMES[result.outcome],
        "result_bits": (result.line_seqno is not None) + 2 * result.in_mm,
        "line_seqno": result.line_seqno or 0,
        "part_id": result.part_id,
        "reason": result.reason,
        "defect_count": result.defect_count,
        "defects_shown": len(result.defects),
        "result_id_again": state.result_id,
    }
    for number, defect in enumerate(result.defects, 1):
        fields = ("class", "x_min", "y_min", "x_max", "y_max", "area", "score")
        values = (defect.class_id, *defect.box, defect.area, defect.score_permille)
        numbers |= {f"defect_{number}_{field}": value for field, value in zip(fields, values, strict=True)}
    return numbers
