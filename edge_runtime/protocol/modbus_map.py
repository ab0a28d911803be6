"""The Modbus register map as data: names, addresses, codes, and how numbers lie in words.

Every register is readable as holding and as input register; only the commands are writable. Numbers are unsigned;
those of 32 and 64 bits lie in 2 and 4 registers, the high word first unless the settings say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edge_runtime.values import Outcome

MAP_VERSION = 1
WORD_MAX = 0xFFFF
MAX_READ_WORDS = 125  # of one request, by the Modbus specification
DEFECTS_SHOWN = 8

WordOrder = Literal["big", "little"]
Access = Literal["read", "write"]

STATES = ("down", "starting", "ready", "inspecting", "degraded", "fault", "stopping")
OUTCOMES = {Outcome.PASS: 1, Outcome.REJECT: 2, Outcome.NOT_INSPECTED: 3}
REASON_NONE, REASON_RECIPE, REASON_OTHER = 0, 1, 99
REASONS = {
    "deadline": 2, "no_camera": 3, "busy": 4, "records_full": 5, "camera_lost": 6, "worker_lost": 7, "stopping": 8,
    "no_frame": 9, "wrong_frame_size": 10, "not_template_size": 11, "end_of_pictures": 12,
    "no_recipe": 13, "unknown_code": 14, "unreadable_code": 15, "wrong_recipe": 16, "doubled_trigger": 17,
    "at_ejector": 18,
}  # fmt: skip
STATUS_BITS = (
    "ready", "busy", "result_valid", "ok", "reject", "not_inspected", "overrun", "stop", "fault", "degraded", "beat",
    "takes_triggers",
)  # fmt: skip
BIT_MEANINGS = {
    "ready": "1: a trigger would be inspected",
    "busy": "1: not now: all places for pictures are taken, or the line must stop",
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
    yield Register("refused", 5, 1, "read", "", "Writes and connections refused since the server started")
    yield Register("accepted_part_id", 6, 4, "read", "", "The part it became, 0: none yet")
    yield Register("recipe_number", 10, 1, "read", "", "Number of the next part's recipe, 0: none is selected")
    yield Register("waiting", 11, 1, "read", "results", "Results not acknowledged, the shown one included")
    yield Register("recipe_digest", 12, 2, "read", "", "The recipe's digest as a number; elsewhere it is 8 hex digits")
    yield Register("reserved_14", 14, 2, "read", "", "0")
    for number, (name, meaning) in enumerate(COUNTERS.items()):
        yield Register(name, 16 + 2 * number, 2, "read", "parts", meaning)
    yield Register("reserved_28", 28, 2, "read", "", "0")


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
    yield Register(
        "defect_count", 39, 1, "read", "defects", "All defects found, ignored ones too; 65535: that many or more"
    )
    yield Register(
        "defects_shown", 40, 1, "read", "defects", "How many of the inspected zone follow, the largest first"
    )
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
