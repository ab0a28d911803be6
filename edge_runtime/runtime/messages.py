"""What the processes of the daemon say to each other: small frozen values, one JSON text a message.

Pydantic checks every field on arrival, so a child with damaged memory can say nothing that is half right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from edge_runtime.protocol.modbus_bank import Command
from edge_runtime.protocol.modbus_image import FieldState
from edge_runtime.runtime.recipes import RecipeFacts
from edge_runtime.values import NO_TILES, InspectionRecord, TileCounts, Verdict


class MessageError(Exception):
    """A message that is none of the known ones."""


@dataclass(frozen=True)
class Setup:
    """First message to every child: the validated settings, as JSON, and which instance of its role it is."""

    settings: str
    index: int
    kind: Literal["setup"] = "setup"


@dataclass(frozen=True)
class Ping:
    """To a child that is idle: answer with Pong."""

    kind: Literal["ping"] = "ping"


@dataclass(frozen=True)
class Pong:
    kind: Literal["pong"] = "pong"


@dataclass(frozen=True)
class Stop:
    """To a child: finish what you hold and exit with 0."""

    kind: Literal["stop"] = "stop"


@dataclass(frozen=True)
class Ready:
    """A child has opened what it owns.

    `digests` by capture and inspection: of each recipe of which it has loaded something, by number. `next_part_id` and
    `kept_recipe`, the number last selected, and `kept_gate` (see KeepGate) by the office. `engines` by inspection:
    what runs its models, in words.
    """

    digests: dict[int, str] = field(default_factory=dict)
    next_part_id: int = 0
    kept_recipe: int | None = None
    kept_gate: str = ""
    engines: str = ""
    kind: Literal["ready"] = "ready"


@dataclass(frozen=True)
class Failed:
    """A child gives up; it exits right after. `reason` is for people."""

    reason: str
    kind: Literal["failed"] = "failed"


@dataclass(frozen=True)
class Prepared:
    """From the preparer: what the settings file says now, as validated JSON, and its recipes, checked.

    `recipe_at_start` as in `LineRules`.
    """

    settings: str
    recipes: tuple[RecipeFacts, ...]
    recipe_at_start: int
    kind: Literal["prepared"] = "prepared"


@dataclass(frozen=True)
class NewRecipes:
    """To capture, which loads the templates of these settings beside its own and answers Loaded, and to the office.

    `load_no` numbers what capture was asked to load.
    """

    settings: str
    load_no: int = 0
    kind: Literal["new_recipes"] = "new_recipes"


@dataclass(frozen=True)
class Loaded:
    """From capture: it holds the new templates, or what is wrong with them. `digests` as in Ready."""

    load_no: int
    digests: dict[int, str]
    problem: str = ""
    kind: Literal["loaded"] = "loaded"


@dataclass(frozen=True)
class TakeOver:
    """To capture: what was loaded under this number is for every picture that is asked for from now on."""

    load_no: int
    kind: Literal["take_over"] = "take_over"


@dataclass(frozen=True)
class Capture:
    """To capture: put the picture of `part_id` into `slot`; part 0 = free run, the newest picture.

    `recipe` is the number of the part's recipe, 0 for none yet: the code in the picture will tell.
    """

    slot: int
    part_id: int
    trigger_ns: int | None
    timeout_ms: float
    recipe: int
    kind: Literal["capture"] = "capture"


@dataclass(frozen=True)
class Captured:
    """From capture: the slot holds the picture. `unfit` says why it cannot be inspected; empty: it can.

    `recipe` is the number that was asked with, or that of the code in the picture, which took `code_ms` to read.
    Monotonic: the request was read at `asked_ns`, the camera gave its picture at `taken_ns`, all lay in the slot at
    `stored_ns`.
    """

    slot: int
    part_id: int
    image_hw: tuple[int, int]
    captured_ns: int
    captured_at: datetime
    recipe: int
    label: str = ""
    unfit: str = ""
    code_ms: float | None = None
    asked_ns: int = 0
    taken_ns: int = 0
    stored_ns: int = 0
    kind: Literal["captured"] = "captured"


@dataclass(frozen=True)
class NotCaptured:
    """From capture: no picture came; `end` when a finite source is used up. The slot is free again."""

    slot: int
    part_id: int
    reason: str
    end: bool = False
    kind: Literal["not_captured"] = "not_captured"


@dataclass(frozen=True)
class CameraTrouble:
    """From capture: the camera is lost (`reason`) and being reopened, or is back (empty)."""

    reason: str
    kind: Literal["camera_trouble"] = "camera_trouble"


@dataclass(frozen=True)
class Inspect:
    """To every worker: share the tiles of this frame, inspected by the recipe of this number."""

    slot: int
    part_id: int
    image_hw: tuple[int, int]
    recipe: int
    kind: Literal["inspect"] = "inspect"


@dataclass(frozen=True)
class Inspected:
    """From the worker that finished the frame's last tile; `tile_px`, `engine`: their side, and what computed them."""

    verdict: Verdict
    stage_ms: dict[str, float] = field(default_factory=dict)
    tile_counts: TileCounts = NO_TILES
    tile_px: int = 0
    engine: str = ""
    kind: Literal["inspected"] = "inspected"


@dataclass(frozen=True)
class Left:
    """From a worker: it touches the slot of this part no more. `tiles` are those that it computed."""

    part_id: int
    tiles: int
    predict_ms: float
    kind: Literal["left"] = "left"


@dataclass(frozen=True)
class Archive:
    """To the office: commit this record; when `slot` is given, save the picture in it, then say SlotRead."""

    record: InspectionRecord
    slot: int | None = None
    image_hw: tuple[int, int] = (0, 0)
    kind: Literal["archive"] = "archive"


@dataclass(frozen=True)
class KeepRecipe:
    """To the office: this number is selected now; remember it over every kind of restart. 0: none is."""

    number: int
    kind: Literal["keep_recipe"] = "keep_recipe"


@dataclass(frozen=True)
class KeepGate:
    """To the office: this model's gate has missed a defect; remember it as the recipe. Empty: none has."""

    model_id: str
    kind: Literal["keep_gate"] = "keep_gate"


@dataclass(frozen=True)
class SlotRead:
    """From the office: it touches the slot of this part no more."""

    part_id: int
    kind: Literal["slot_read"] = "slot_read"


@dataclass(frozen=True)
class Committed:
    """From the office: these records are on disk."""

    part_ids: tuple[int, ...]
    kind: Literal["committed"] = "committed"


@dataclass(frozen=True)
class StorageTrouble:
    """From the office: records or pictures cannot be written (`reason`), or can again (empty)."""

    reason: str
    kind: Literal["storage_trouble"] = "storage_trouble"


@dataclass(frozen=True)
class ReporterTrouble:
    """From the reporter: what keeps it from reporting (`reason`), or nothing does any more (empty)."""

    reason: str
    kind: Literal["reporter_trouble"] = "reporter_trouble"


@dataclass(frozen=True)
class Publish:
    """To the office: the newest Snapshot, as JSON."""

    snapshot: str
    kind: Literal["publish"] = "publish"


@dataclass(frozen=True)
class FieldImage:
    """To the field bus: show this from now on; each message replaces the one before."""

    state: FieldState
    kind: Literal["field_image"] = "field_image"


@dataclass(frozen=True)
class FieldCommands:
    """From the field bus: what a master wrote with one request at `at_ns` (monotonic)."""

    commands: tuple[Command, ...]
    at_ns: int
    kind: Literal["field_commands"] = "field_commands"


@dataclass(frozen=True)
class FieldTrouble:
    """From the field bus: its port is lost (`reason`) and being opened again, or is back (empty)."""

    reason: str
    kind: Literal["field_trouble"] = "field_trouble"


Message = (
    Setup | Ping | Pong | Stop | Ready | Failed | Capture | Captured | NotCaptured | CameraTrouble
    | Inspect | Inspected | Left | Archive | KeepRecipe | KeepGate | SlotRead | Committed | StorageTrouble | Publish
    | FieldImage | FieldCommands | FieldTrouble | ReporterTrouble | Prepared | NewRecipes | Loaded | TakeOver
)  # fmt: skip


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Message]:
    return TypeAdapter(Annotated[Message, Field(discriminator="kind")])


def encode(message: Message) -> bytes:
    return _adapter().dump_json(message)


def decode(data: bytes) -> Message:
    """Raises MessageError for anything that `encode` cannot have made."""
    try:
        return _adapter().validate_json(data)
    except ValidationError as exc:
        raise MessageError(f"not a message of this program: {data[:80]!r}: {exc.errors()[0]['msg']}") from exc
