"""The Modbus register map as data, and a register image from what the box has to say: pure, no port, no clock.

Every register is readable as holding and as input register; only the commands are writable. Numbers are unsigned;
those of 32 and 64 bits lie in 2 and 4 registers, the high word first unless the settings say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edge_runtime.values import Defect, Outcome, Verdict

MAP_VERSION = 1
WORD_MAX = 0xFFFF
MAX_READ_WORDS = 125  # of one request, by the Modbus specification
DEFECTS_SHOWN = 8
MM2_UNIT = 0.01

WordOrder = Literal["big", "little"]
Access = Literal["read", "write"]

STATES = ("down", "starting", "ready", "inspecting", "degraded", "fault", "stopping")
OUTCOMES = {Outcome.PASS: 1, Outcome.REJECT: 2, Outcome.NOT_INSPECTED: 3}
REASON_NONE, REASON_RECIPE, REASON_OTHER = 0, 1, 99
REASONS = {
    "deadline": 2, "no_camera": 3, "busy": 4, "records_full": 5, "camera_lost": 6, "worker_lost": 7, "stopping": 8,
    "no_frame": 9, "wrong_frame_size": 10, "not_template_size": 11, "end_of_pictures": 12,
}  # fmt: skip
STATUS_BITS = (
    "ready", "busy", "result_valid", "ok", "reject", "not_inspected", "overrun", "stop", "fault", "degraded", "beat",
    "takes_triggers",
)  # fmt: skip
BIT_MEANINGS = {
    "ready": "1: a trigger would be inspected",
    "busy": "1: not now, all places for pictures are taken; ready follows by itself",
    "result_valid": "1: the result registers hold a result",
    "ok": "1: that result is PASS; 0 without a result",
    "reject": "1: that result is REJECT or NOT_INSPECTED",
    "not_inspected": "1: that result is NOT_INSPECTED",
    "overrun": "1: a trigger came while the box was not ready; cleared by reset",
    "stop": "1: the line must stand; cleared by reset",
    "fault": "1: the box cannot inspect or cannot tell results, or is down",
    "degraded": "1: the box inspects, something else is wrong",
    "beat": "changes with each heartbeat",
    "takes_triggers": '1: the trigger register is in use (`line.trigger = "modbus"`)',
}
COMMANDS: tuple[Literal["trigger", "acknowledge", "reset", "select_recipe"], ...] = (
    "trigger", "acknowledge", "reset", "select_recipe",
)  # fmt: skip
COMMANDS_AT = 200


@dataclass(frozen=True)
class Register:
    """One row of the map: `words` registers from `address` (counted from 0)."""

    name: str
    address: int
    words: int
    access: Access
    unit: str
    meaning: str

    @property
    def type(self) -> str:
        return f"uint{16 * self.words}"


def _codes(names: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {name}" for name, code in names.items())


def _status() -> Iterator[Register]:
    bits = ", ".join(f"bit {number} {name}" for number, name in enumerate(STATUS_BITS))
    states = _codes({name: code for code, name in enumerate(STATES)})
    yield Register("map_version", 0, 1, "read", "", f"{MAP_VERSION}: this map")
    yield Register("state", 1, 1, "read", "", states)
    yield Register("status_bits", 2, 1, "read", "bits", bits)
    yield Register("heartbeat", 3, 1, "read", "", "Counts up once per heartbeat, 65535 is followed by 0")
    yield Register("accepted_seqno", 4, 1, "read", "", "line_seqno of the last trigger that became a part")
    yield Register("refused", 5, 1, "read", "", "Writes refused since the server started, 65535: that many or more")
    yield Register("accepted_part_id", 6, 4, "read", "", "The part it became, 0: none yet")
    yield Register("recipe_number", 10, 1, "read", "", "Number of the next part's recipe, 0: none is selected")
    yield Register("waiting", 11, 1, "read", "results", "Results not acknowledged, the shown one included")
    yield Register(
        "recipe_digest", 12, 4, "read", "", "The recipe's digest as a number; it is written as 8 hex digits elsewhere"
    )
    for number, (name, meaning) in enumerate(COUNTERS.items()):
        yield Register(name, 16 + 2 * number, 2, "read", "parts", meaning)
    yield Register("reserved", 28, 2, "read", "", "0")


COUNTERS = {
    "triggers": "Parts since the daemon started",
    "passed": "Of them PASS",
    "rejected": "Of them REJECT",
    "not_inspected": "Of them NOT_INSPECTED",
    "late": "Inspections that ended after their part's deadline",
    "lost_results": "Results that were never acknowledged: too many waited, or a reset voided them",
}


def _result() -> Iterator[Register]:
    outcomes = _codes({"none": 0} | {outcome.value: code for outcome, code in OUTCOMES.items()})
    reasons = _codes({"none": REASON_NONE, "recipe limit": REASON_RECIPE} | REASONS | {"other": REASON_OTHER})
    yield Register("result_id", 30, 1, "read", "", "1 to 65535, then 1 again; 0: no result to show")
    yield Register("outcome", 31, 1, "read", "", outcomes)
    yield Register("result_bits", 32, 1, "read", "bits", "bit 0: line_seqno is valid, bit 1: millimetres, not pixels")
    yield Register("line_seqno", 33, 1, "read", "", "The controller's own number of the part")
    yield Register("part_id", 34, 4, "read", "", "As in the records")
    yield Register("reason", 38, 1, "read", "", reasons)
    yield Register("defect_count", 39, 1, "read", "defects", "All counted defects, 65535: that many or more")
    yield Register("defects_shown", 40, 1, "read", "defects", "How many follow, the largest first")
    for number in range(DEFECTS_SHOWN):
        yield from _defect(f"defect_{number + 1}", 41 + 8 * number)
    yield Register("result_id_again", 105, 1, "read", "", "Equal to result_id in every whole reading")


def _defect(prefix: str, address: int) -> Iterator[Register]:
    edges = {"x_min": "Left edge", "y_min": "Upper edge", "x_max": "Right edge", "y_max": "Lower edge"}
    yield Register(f"{prefix}_class", address, 1, "read", "", "Class id of the bundle, 0: no defect")
    for number, (edge, meaning) in enumerate(edges.items(), 1):
        yield Register(f"{prefix}_{edge}", address + number, 1, "read", "0.1 mm or px", meaning)
    yield Register(f"{prefix}_area", address + 5, 2, "read", "0.01 mm² or px", "Area")
    yield Register(f"{prefix}_score", address + 7, 1, "read", "per mille", "How sure the model is")


def _commands() -> Iterator[Register]:
    meanings = (
        "line_seqno of the part in front of the camera; a number other than the last one is a new part; 0: none",
        "result_id that was read: the next result is shown; 0: none",
        "A number other than the last one begins anew: no overrun, no stop, no open results; 0: nothing",
        "A number other than the last one selects that recipe; 0: nothing",
    )
    for number, (name, meaning) in enumerate(zip(COMMANDS, meanings, strict=True)):
        yield Register(name, COMMANDS_AT + number, 1, "write", "", meaning)


REGISTERS = (*_status(), *_result(), *_commands())
IMAGE_WORDS = 106  # what one request reads: status and result, without the commands


# -- what the box has to say ------------------------------------------------------------------------------------


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
        """With the `DEFECTS_SHOWN` largest defects."""
        largest = sorted(verdict.defects, key=lambda defect: -defect.area_px)[:DEFECTS_SHOWN]
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


def words_of(number: int, words: int, word_order: WordOrder) -> list[int]:
    """`number` in 16-bit words, clipped to what they can hold."""
    clipped = min(max(number, 0), (1 << 16 * words) - 1)
    high_first = [clipped >> 16 * place & WORD_MAX for place in reversed(range(words))]
    return high_first if word_order == "big" else high_first[::-1]


def number_of(words: Sequence[int], word_order: WordOrder) -> int:
    number = 0
    for word in words if word_order == "big" else reversed(words):
        number = number << 16 | word
    return number


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
