"""The line's controller at the far end of the serial cable: listens, acknowledges, can be made to do it badly."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace

from edge_runtime.clock import NS_PER_MS, Clock
from edge_runtime.protocol.messages import (
    FROM_DEVICE,
    MAX_LINE_SEQNO,
    Acknowledge,
    FaultChanged,
    Heartbeat,
    Message,
    ResetRequest,
    Result,
    TriggerAccepted,
    TriggerRequest,
)
from edge_runtime.protocol.sentence import Decoder, encode
from edge_runtime.simulation.cable import Cable

WELL = frozenset({"ready", "inspecting"})
STOP_DEMANDED = "rejects"
LATE_ACK_NS = 350 * NS_PER_MS
REPEAT_TRIGGER_NS = 60 * NS_PER_MS


@dataclass(frozen=True)
class Told:
    """The first result heard for a part, without its number, and when."""

    result: Result
    at_ns: int


@dataclass
class Heard:
    """What came over the wire."""

    results: dict[int, Told] = field(default_factory=dict)
    contradictions: list[str] = field(default_factory=list)
    repeats: int = 0
    state: str = ""
    state_at_ns: int = 0
    standing: set[str] = field(default_factory=set)
    raised_ns: dict[str, int] = field(default_factory=dict)


class FarEnd:
    """Reads the cable, keeps what it heard, acknowledges each result, resets a demanded stop.

    `disturbances` names the faults that go on: lost_ack, late_ack, cut_sentence, noise. One thread owns it.
    """

    def __init__(self, cable: Cable, clock: Clock, seed: int) -> None:
        self.heard = Heard()
        self.disturbances: Counter[str] = Counter()
        self._cable = cable
        self._clock = clock
        self._chance = random.Random(seed)
        self._decoder = Decoder(FROM_DEVICE)
        self._late: list[tuple[int, int]] = []
        self._unaccepted: dict[int, int] = {}

    def is_well_since(self, at_ns: int) -> bool:
        """Whether a heartbeat later than that said that parts are inspected, and no fault stands."""
        return self.heard.state in WELL and self.heard.state_at_ns > at_ns and not self.heard.standing

    def has_noticed(self, code: str, since_ns: int) -> bool:
        """Whether the daemon has told of this fault since then."""
        return self.heard.raised_ns.get(code, 0) >= since_ns

    def listen(self, wait_ms: float) -> None:
        """Take what comes within `wait_ms`, and answer it."""
        received = self._cable.read(wait_ms)
        now_ns = self._clock.monotonic_ns()
        if received and self.disturbances["noise"]:
            received = self._spoiled(received)
        for message in self._decoder.feed(received):
            self._take(message, now_ns)
        self._say_late(now_ns)

    def trigger(self, line_seqno: int) -> None:
        """Say that a part is there; repeated until it is accepted."""
        self._unaccepted[line_seqno % (MAX_LINE_SEQNO + 1)] = -REPEAT_TRIGGER_NS
        self._say_late(self._clock.monotonic_ns())

    # -- inside -------------------------------------------------------------------------------------------------

    def _take(self, message: Message, now_ns: int) -> None:
        if isinstance(message, Result):
            self._take_result(message, now_ns)
        elif isinstance(message, Heartbeat):
            if message.count == 0:
                self.heard.standing.clear()
                self.heard.raised_ns["start"] = now_ns
            self.heard.state, self.heard.state_at_ns = message.state, now_ns
            if STOP_DEMANDED in self.heard.standing:
                self._cable.write(encode(ResetRequest()))
        elif isinstance(message, FaultChanged):
            (self.heard.standing.add if message.raised else self.heard.standing.discard)(message.code)
            if message.raised:
                self.heard.raised_ns[message.code] = now_ns
        elif isinstance(message, TriggerAccepted):
            self._unaccepted.pop(message.line_seqno, None)

    def _take_result(self, result: Result, now_ns: int) -> None:
        plain = replace(result, seq=1)
        known = self.heard.results.setdefault(result.part_id, Told(plain, now_ns))
        if known.at_ns != now_ns:
            self.heard.repeats += 1
        if known.result != plain:
            self.heard.contradictions.append(f"part_id {result.part_id}: told {known.result}, then {plain}")
        self._acknowledge(result.seq, now_ns)

    def _acknowledge(self, seq: int, now_ns: int) -> None:
        sentence = encode(Acknowledge(seq))
        if self.disturbances["lost_ack"]:
            return
        if self.disturbances["late_ack"]:
            self._late.append((now_ns + LATE_ACK_NS, seq))
        elif self.disturbances["cut_sentence"] and self._chance.random() < 0.5:
            self._cable.write(sentence[: self._chance.randint(1, len(sentence) - 3)])
        else:
            self._cable.write((self._rubbish() if self.disturbances["noise"] else b"") + sentence)

    def _say_late(self, now_ns: int) -> None:
        due = [seq for at_ns, seq in self._late if at_ns <= now_ns]
        self._late = [each for each in self._late if each[0] > now_ns]
        for seq in due:
            self._cable.write(encode(Acknowledge(seq)))
        for line_seqno, said_ns in list(self._unaccepted.items()):
            if now_ns - said_ns >= REPEAT_TRIGGER_NS:
                self._unaccepted[line_seqno] = now_ns
                self._cable.write(encode(TriggerRequest(line_seqno)))

    def _rubbish(self) -> bytes:
        return self._chance.randbytes(self._chance.randint(0, 12))

    def _spoiled(self, data: bytes) -> bytes:
        """Noise on the way here: a flipped bit now and then, and bytes that nobody sent."""
        spoiled = bytearray(data)
        if self._chance.random() < 0.3:
            spoiled[self._chance.randrange(len(spoiled))] ^= 1 << self._chance.randrange(8)
        return bytes(spoiled) + (self._rubbish() if self._chance.random() < 0.3 else b"")
