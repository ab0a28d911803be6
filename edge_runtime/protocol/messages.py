"""What controller and device say to each other, one frozen value a sentence; `sentence` puts them on the wire.

Each field's annotation carries its `Kind`: the range checked at birth and the way it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from edge_runtime.protocol.field_kinds import Checked, Choice, Number, Text, kinds_of, sanitised
from edge_runtime.values import Outcome, Verdict, Zone

MAX_SEQ = 65535
MAX_LINE_SEQNO = 65535
MAX_RECIPE_NUMBER = 65535
_MAX_COUNT = 2**63 - 1

Seq = Annotated[int, Number(1, MAX_SEQ)]
PartId = Annotated[int, Number(1, _MAX_COUNT)]
LineSeqno = Annotated[int, Number(0, MAX_LINE_SEQNO)]
LineSeqnoOrNone = Annotated[int | None, Number(0, MAX_LINE_SEQNO, optional=True)]
DefectCount = Annotated[int, Number(0, 2**32 - 1)]
Count = Annotated[int, Number(0, _MAX_COUNT)]
TextOrEmpty = Annotated[str, Text()]
Code = Annotated[str, Text(min_chars=1)]
State = Annotated[str, Text(min_chars=1, max_chars=10)]
RecipeNumber = Annotated[int, Number(1, MAX_RECIPE_NUMBER)]
RecipeNumberOr0 = Annotated[int, Number(0, MAX_RECIPE_NUMBER)]
Decision = Annotated[Outcome, Choice(((Outcome.PASS, "P"), (Outcome.REJECT, "R"), (Outcome.NOT_INSPECTED, "N")))]
Flag = Annotated[bool, Choice(((True, "1"), (False, "0")))]


@dataclass(frozen=True)
class PartResult(Checked):
    """What the controller is told about one part, before the outbox numbers it.

    `class_name` is that of the largest counted defect, "" without one; `reason` is the first reason code.
    """

    part_id: PartId
    line_seqno: LineSeqnoOrNone
    outcome: Decision
    defect_count: DefectCount
    class_name: TextOrEmpty
    reason: TextOrEmpty

    @classmethod
    def of(cls, verdict: Verdict, line_seqno: int | None, class_names: Mapping[int, str]) -> PartResult:
        """The result of a verdict; names and reasons are sanitised, so no verdict is unfit for the wire."""
        return cls(
            part_id=verdict.part_id,
            line_seqno=line_seqno,
            outcome=verdict.outcome,
            defect_count=min(verdict.defect_count, 2**32 - 1),
            class_name=sanitised(_largest_class(verdict, class_names)),
            reason=sanitised(verdict.reasons[0]) if verdict.reasons else "",
        )


def _largest_class(verdict: Verdict, class_names: Mapping[int, str]) -> str:
    counted = [defect for defect in verdict.defects if defect.zone is Zone.INSPECT]
    if not counted:
        return ""
    class_id = max(counted, key=lambda defect: defect.area_px).class_id
    return class_names.get(class_id, f"class {class_id}")


@dataclass(frozen=True)
class Message(Checked):
    """Anything that travels as one sentence; `WORD` names it on the wire."""

    WORD: ClassVar[str]


@dataclass(frozen=True)
class Result(Message):
    """RES: the verdict on a part, repeated with the same `seq` until the controller acknowledges it."""

    WORD = "RES"
    seq: Seq
    part_id: PartId
    line_seqno: LineSeqnoOrNone
    outcome: Decision
    defect_count: DefectCount
    class_name: TextOrEmpty
    reason: TextOrEmpty

    @classmethod
    def numbered(cls, seq: int, part: PartResult) -> Result:
        return cls(seq, **{name: getattr(part, name) for name, _ in kinds_of(PartResult)})


@dataclass(frozen=True)
class TriggerAccepted(Message):
    """TRA: the trigger with this `line_seqno` became this part."""

    WORD = "TRA"
    line_seqno: LineSeqno
    part_id: PartId


@dataclass(frozen=True)
class Heartbeat(Message):
    """HBT: the daemon lives; `count` rises by one a second and starts again at 0 with the daemon."""

    WORD = "HBT"
    count: Count
    state: State


@dataclass(frozen=True)
class FaultChanged(Message):
    """FLT: a fault was raised or cleared."""

    WORD = "FLT"
    code: Code
    raised: Flag


@dataclass(frozen=True)
class Down(Message):
    """DWN: the daemon is down and its outputs are safe; nothing follows until it starts again."""

    WORD = "DWN"
    reason: Code


@dataclass(frozen=True)
class Status(Message):
    """STA: the answer to a status query; counts since the daemon started."""

    WORD = "STA"
    state: State
    triggers: Count
    passed: Count
    rejected: Count
    not_inspected: Count
    unacknowledged: Count


@dataclass(frozen=True)
class Refused(Message):
    """ERR: a sentence was understood and is refused."""

    WORD = "ERR"
    code: Code


@dataclass(frozen=True)
class SignalsChanged(Message):
    """SIG: the trigger side of the handshake, as it stands now."""

    WORD = "SIG"
    ready: Flag
    busy: Flag
    overrun: Flag
    fault: Flag


@dataclass(frozen=True)
class TriggerRequest(Message):
    """TRG: a part lies in front of the camera. The same `line_seqno` again asks again for the same TRA."""

    WORD = "TRG"
    line_seqno: LineSeqno


@dataclass(frozen=True)
class Acknowledge(Message):
    """ACK: the controller has the result with this `seq`."""

    WORD = "ACK"
    seq: Seq


@dataclass(frozen=True)
class UnnumberedTrigger(Message):
    """A part lies in front of the camera; each one is a new part. Only protocols of a controller's own have it."""

    WORD = ""


@dataclass(frozen=True)
class AcknowledgePart(Message):
    """The controller has the result of this part. Only protocols of a controller's own have it."""

    WORD = ""
    part_id: PartId


@dataclass(frozen=True)
class StatusQuery(Message):
    """STS: asks for a Status."""

    WORD = "STS"


@dataclass(frozen=True)
class RecipeActive(Message):
    """RCA: the recipe of the next part: its number, its name and the digest of recipe, template and model; 0: none.

    Sent at start, after each change whoever asked for it, and as the answer to RCP and RCQ.
    """

    WORD = "RCA"
    number: RecipeNumberOr0
    name: TextOrEmpty
    digest: TextOrEmpty


@dataclass(frozen=True)
class RecipeRequest(Message):
    """RCP: inspect the next part with this recipe. The same number again is harmless and answered by the same RCA."""

    WORD = "RCP"
    number: RecipeNumber


@dataclass(frozen=True)
class RecipeQuery(Message):
    """RCQ: asks for a RecipeActive."""

    WORD = "RCQ"


@dataclass(frozen=True)
class ResetRequest(Message):
    """RST: take back what is latched."""

    WORD = "RST"


FROM_DEVICE: frozenset[type[Message]] = frozenset(
    {Result, TriggerAccepted, Heartbeat, FaultChanged, Down, Status, Refused, RecipeActive, SignalsChanged}
)
FROM_CONTROLLER: frozenset[type[Message]] = frozenset(
    {TriggerRequest, Acknowledge, StatusQuery, RecipeRequest, RecipeQuery, ResetRequest}
)
