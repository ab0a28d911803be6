"""What the controller sees, to the byte and the microsecond: each file in replay/ is one story with its expected end.

A story has a `title`, settings that differ from `DEFAULTS`, `event`s with their times, and what must be on the `wire`
([ms, bytes] for each write) and on the output `lines` (one text a change: ms, output, on or off).
"""

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
import tomli

from edge_runtime.clock import NS_PER_MS, ManualClock
from edge_runtime.interfaces import RECIPE_BITS, Input, Output
from edge_runtime.protocol.ascii_codec import AsciiCodec
from edge_runtime.protocol.handshake import Handshake, HandshakeRules
from edge_runtime.protocol.outbox import Outbox
from edge_runtime.protocol.sentence import SentenceCodec
from edge_runtime.runtime.desk import Desk
from edge_runtime.runtime.ejection import Ejection
from edge_runtime.runtime.encoder import Encoder
from edge_runtime.runtime.gpio_wire import GpioWire
from edge_runtime.runtime.health import State
from edge_runtime.runtime.line_actions import Action
from edge_runtime.runtime.line_control import LineControl
from edge_runtime.runtime.line_rules import LineRules
from edge_runtime.runtime.messages import Capture, Captured, Inspected
from edge_runtime.runtime.outputs import OutputLines
from edge_runtime.runtime.recipe_inputs import RecipeInputs
from edge_runtime.runtime.recipes import RecipeFacts
from edge_runtime.runtime.serial_link import SerialLink, WireSpeed
from edge_runtime.runtime.serial_wire import SerialWire
from edge_runtime.runtime.signals import Signals
from edge_runtime.runtime.stop_rules import StopLimits, StopRule
from edge_runtime.runtime.tracking import TrackRules
from edge_runtime.signal_io.recording import RecordingBytePort, RecordingLines
from edge_runtime.signal_io.safe_levels import SAFE_ACTIVE
from edge_runtime.values import Defect, Outcome, Verdict

STORIES = sorted((Path(__file__).parent / "replay").glob("*.toml"))
UTC = datetime(2026, 1, 1, tzinfo=timezone.utc)
TICK_NS = 100 * NS_PER_MS
DEFAULTS = {
    "deadline_ms": 500,
    "deadline_guard_ms": 10,
    "slot_count": 4,
    "first_part_id": 1,
    "camera_ready": True,
    "state": "ready",
    "serial": True,
    "gpio": False,
    "serial_triggers": True,
    "heartbeat_ms": 60_000,
    "ack_timeout_ms": 200,
    "max_unacknowledged": 10,
    "acknowledge": True,
    "baud_rate": 0,
    "ascii": {},
    "pulse_ms": {"ok": 50, "reject": 80},
    "handshake": {},
    "outputs": ["ok", "reject", "busy", "fault", "heartbeat"],
    "ejection": {},
    "stop": {},
    "recipes": ["recipe"],
    "recipe_inputs": False,
    "strobe": True,
    "class_names": {"1": "Open", "2": "short"},
}


class Replay:
    """The wire's side of the line process on recording ports: events in, bytes and levels out."""

    def __init__(self, config: dict) -> None:
        self.clock = ManualClock()
        self.port = RecordingBytePort(clock=self.clock) if config["serial"] else None
        self.lines = self._build_lines(config) if config["gpio"] else None
        self.asked_recipes: dict[int, RecipeFacts] = {}
        self.signals = self._build_signals(config)
        class_names = {int(class_id): name for class_id, name in config["class_names"].items()}
        recipes = tuple(
            RecipeFacts(n, name, "model", f"{n:08x}", class_names) for n, name in enumerate(config["recipes"], 1)
        )
        rules = LineRules(
            config["deadline_ms"], config["slot_count"], 50, recipes, deadline_guard_ms=config["deadline_guard_ms"]
        )
        self.control = LineControl(rules, config["first_part_id"], kept_recipe=1)
        self.control.camera_ready = config["camera_ready"]
        self.control.worker_ready(0)
        self.state = State(config["state"])
        stop_rule = StopRule(StopLimits(**config["stop"]))
        self.desk = Desk(self.signals, stop_rule, self.clock, self._carry_out, keep_recipe=lambda: None)
        self.desk.begin(self.control)
        self.encoder_active = False

    def _build_lines(self, config: dict) -> RecordingLines:
        wired = {output: SAFE_ACTIVE[output] for output in map(Output, config["outputs"])}
        return RecordingLines(inputs=list(Input), safe_active=wired, clock=self.clock)

    def _build_signals(self, config: dict) -> Signals:
        codec = AsciiCodec(config["ascii"]) if config["ascii"] else SentenceCodec()
        speed = WireSpeed.of(config["baud_rate"]) if config["baud_rate"] else WireSpeed()
        ack_timeout_ns = speed.ack_timeout_ns(config["ack_timeout_ms"] * NS_PER_MS, codec.max_bytes)
        outbox = Outbox(ack_timeout_ns, config["max_unacknowledged"], config["acknowledge"], encode=codec.encode)
        times = config["handshake"]
        rules = HandshakeRules(8, times["setup_ms"] * NS_PER_MS, times["off_ms"] * NS_PER_MS) if times else None
        pulses = {Output(name): ms for name, ms in config["pulse_ms"].items()}
        link = SerialLink(self.port, outbox, codec, speed) if self.port else None
        strobe = RecipeInputs(RECIPE_BITS, config["strobe"], 50 * NS_PER_MS)
        gpio = GpioWire(
            OutputLines(self.lines, pulses),
            ejection=_build_ejection(config["ejection"]) if config["ejection"] else None,
            recipe_inputs=strobe if config["recipe_inputs"] else None,
            handshake=Handshake(rules) if rules else None,
        )
        serial = SerialWire(link, config["serial_triggers"]) if link else None
        return Signals(gpio if self.lines else None, serial, None, config["heartbeat_ms"])

    @property
    def now_ns(self) -> int:
        return self.clock.monotonic_ns()

    def run(self, events: list[dict], until_ms: float) -> None:
        """Let the events happen at their times, and take a turn whenever something is due."""
        for event in [*events, {"at_ms": until_ms}]:
            while (due_ns := self._next_due_ns()) < event["at_ms"] * NS_PER_MS:
                self.clock.advance_ms((due_ns - self.now_ns) / NS_PER_MS)
                self._turn()
            self.clock.advance_ms(event["at_ms"] - self.now_ns / NS_PER_MS)
            self._happen(event)
            self._turn()

    def _next_due_ns(self) -> int:
        tick_ns = (self.now_ns // TICK_NS + 1) * TICK_NS
        return max(self.now_ns, min(tick_ns, self.desk.next_wake_ns(self.now_ns)))

    def _turn(self) -> None:
        for wire in (self.signals.serial, self.signals.lines):
            if wire is not None and wire.is_open:
                self.desk.hear(wire)
        self.desk.state = self.state
        self.desk.tell_condition()
        self.desk.work()
        self.desk.show()

    def _carry_out(self, action: Action, now_ns: int) -> None:
        if isinstance(action, Capture):
            self.asked_recipes[action.part_id] = self.control.recipes.get(action.recipe)

    # -- events -------------------------------------------------------------------------------------------------

    def _happen(self, event: dict) -> None:
        for name in event.keys() - {"at_ms", "outcome", "reason", "defects", "raised", "lost", "active"}:
            getattr(self, f"_{name}")(event[name], event)

    def _receive(self, text: str, event: dict) -> None:
        self.port.inject(text.encode("latin-1"))

    def _edge(self, lost_before: int, event: dict) -> None:
        self.lines.inject_edge(Input.TRIGGER, lost=lost_before)

    def _reset(self, lost_before: int, event: dict) -> None:
        self.lines.inject_edge(Input.RESET, lost=lost_before)

    def _pulses(self, count: int, event: dict) -> None:
        """The belt moves: so many edges of the encoder's only channel, after some that nobody sees."""
        for number in range(count):
            self.encoder_active = not self.encoder_active
            lost = event.get("lost", 0) if number == 0 else 0
            self.lines.inject_edge(Input.ENCODER_A, lost=lost, active=self.encoder_active)

    def _input(self, name: str, event: dict) -> None:
        self.lines.inject_edge(Input(name), active=event.get("active", True))

    def _captured(self, part_id: int, event: dict) -> None:
        picture = Captured(0, part_id, (480, 640), self.now_ns, UTC, self.asked_recipes[part_id].number)
        self.desk.do(self.control.captured(picture, self.now_ns))

    def _not_captured(self, part_id: int, event: dict) -> None:
        self.desk.do(self.control.not_captured(part_id, event["reason"], False, self.now_ns))

    def _inspected(self, part_id: int, event: dict) -> None:
        found = tuple(Defect(class_id, (0, 0, 9, 9), area_px, None, 0.9) for class_id, area_px in event["defects"])
        reasons = (event["reason"],) if event["reason"] else ()
        outcome = Outcome(event["outcome"])
        recipe = self.asked_recipes[part_id]
        verdict = Verdict(part_id, outcome, reasons, found, len(found), self.now_ns, recipe.model_id, recipe.name)
        self.desk.do(self.control.inspected(Inspected(verdict), self.now_ns))

    def _taken_over(self, names: list[str], event: dict) -> None:
        """Other recipes and another model, in the hands of another worker."""
        recipes = tuple(RecipeFacts(n, name, "other", f"{n + 0xC000:08x}") for n, name in enumerate(names, 1))
        self.desk.do(self.control.take_over(recipes, 0, self.now_ns))
        self.desk.do(self.control.worker_ready(1))

    def _left(self, part_id: int, event: dict) -> None:
        self.desk.do(self.control.left(0, part_id))

    def _camera(self, state: str, event: dict) -> None:
        if state == "lost":
            self.desk.do(self.control.camera_lost(self.now_ns))
        self.control.camera_ready = state == "ready"

    def _state(self, state: str, event: dict) -> None:
        self.state = State(state)

    def _cable(self, state: str, event: dict) -> None:
        {"pulled": self.port.fail, "restored": self.port.restore}[state]()

    def _gpio(self, state: str, event: dict) -> None:
        {"lost": self.lines.fail, "back": self.lines.restore}[state]()

    def _room_bytes(self, count: int, event: dict) -> None:
        self.port.room_bytes = count if count >= 0 else None

    def _fault(self, code: str, event: dict) -> None:
        self.signals.fault(code, event["raised"])

    def _close(self, reason: str, event: dict) -> None:
        self.signals.close(reason, self.now_ns)

    # -- what came of it ----------------------------------------------------------------------------------------

    def on_the_wire(self) -> list[list]:
        written = self.port.written if self.port else []
        return [[each.at_ns / NS_PER_MS, each.data.decode("latin-1")] for each in written]

    def on_the_lines(self) -> list[str]:
        driven = self.lines.driven if self.lines else []
        return [f"{each.at_ns / NS_PER_MS:g} {each.output.value} {'on' if each.active else 'off'}" for each in driven]

    def counted(self) -> dict[str, int]:
        counters, wire = self.control.counters, self.signals.counts()
        return {
            "triggers": counters.triggers,
            "late": counters.late,
            "unannounced": wire.unannounced,
            "missed_edges": wire.missed_edges,
            "in_flight": self.control.parts_in_flight,
            "rejected": sum(wire.rejected.values()),
            "irregular": sum(wire.irregular.values()),
            "voided": wire.voided,
            **self.signals.tracking(self.now_ns),
        }

    def end(self) -> None:
        self.signals.close("end", self.now_ns)


def _build_ejection(config: dict) -> Ejection:
    """`travel_ms` and `min_gap_ms`, or `travel_pulses` and `min_gap_pulses`; the rules as in the settings."""
    rules = {name: config[name] for name in ("on_doubled", "on_lost") if name in config}
    if "travel_pulses" in config:
        rejects = config.get("on_standstill") == "reject"
        track = TrackRules(config["travel_pulses"], config["min_gap_pulses"], **rules)
        return Ejection(track, Encoder(False, 200), rejects)
    times_ns = (round(config[name] * NS_PER_MS) for name in ("travel_ms", "min_gap_ms"))
    return Ejection(TrackRules(*times_ns, **rules), None)


def with_answers(events: list[dict]) -> Iterator[dict]:
    """`event`s complete: an inspection's outcome is PASS unless told, without reason and defects."""
    for event in events:
        yield {"outcome": "PASS", "reason": "", "defects": [], **event} if "inspected" in event else event


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_the_controller_sees_what_the_story_says(path):
    story = tomli.loads(path.read_text("utf-8"))
    assert story.keys() <= {"title", "config", "event", "until_ms", "expected"}
    assert story.get("config", {}).keys() <= DEFAULTS.keys()
    replay = Replay(DEFAULTS | story.get("config", {}))
    try:
        replay.run(list(with_answers(story["event"])), story["until_ms"])
        expected = story["expected"]
        assert replay.on_the_wire() == expected.get("wire", [])
        assert replay.on_the_lines() == expected.get("lines", [])
        assert replay.counted() == {**dict.fromkeys(replay.counted(), 0), **expected["counted"]}
    finally:
        replay.end()


def test_there_are_stories():
    assert len(STORIES) >= 15
