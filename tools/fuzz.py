"""Random and damaged input for the serial decoders: nothing crashes them, and how often a checksum is fooled.

`python -m tools.fuzz --inputs 1000000`, or `make fuzz`. Same seed, same inputs.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_runtime.protocol.ascii_codec import INCOMING, AsciiCodec, incoming
from edge_runtime.protocol.ascii_template import Template
from edge_runtime.protocol.codec import Codec
from edge_runtime.protocol.messages import (
    Acknowledge,
    Message,
    RecipeRequest,
    ResetRequest,
    StatusQuery,
    TriggerRequest,
)
from edge_runtime.protocol.sentence import SentenceCodec, encode

TEMPLATES = {
    "result": "{seq}{outcome}\r",
    "trigger": r"\x02T{line_seqno:05d}{SUM}\x03",
    "ack": r"\x02A{seq:05d}{SUM}\x03",
    "recipe": r"\x02P{number:02d}{SUM}\x03",
    "reset": r"\x02RESET{SUM}\x03",
    "query": r"\x02STATUS{SUM}\x03",
}
HEX = b"0123456789ABCDEF"
Damage = Callable[[random.Random, bytes], bytes]


@dataclass(frozen=True)
class Subject:
    """A decoder under test: how its controller speaks, and the share of random checksums that pass."""

    name: str
    make: Callable[[], Codec]
    say: Callable[[Message], bytes]
    checksum_at: slice
    odds: float


def subjects() -> list[Subject]:
    return [
        Subject("sentence", SentenceCodec, encode, slice(-4, -2), 1 / 256),
        _ascii("ascii, xor", "xor", slice(-3, -1), 1 / 256),
        _ascii("ascii, crc16", "crc16", slice(-5, -1), 1 / 65536),
    ]


def _ascii(name: str, checksum: str, checksum_at: slice, odds: float) -> Subject:
    texts = {name: text.replace("SUM", checksum) for name, text in TEMPLATES.items()}
    forms: dict[type[Message], Template] = {}
    for each in texts.keys() & INCOMING.keys():
        template, kind = incoming(each, texts[each])
        forms[kind] = template

    def say(message: Message) -> bytes:
        template = forms[type(message)]
        return template.render({field: getattr(message, field) for field in template.fields})

    return Subject(name, lambda: AsciiCodec(texts), say, checksum_at, odds)


def any_message(dice: random.Random) -> Message:
    kind = dice.randrange(8)
    if kind < 3:
        return TriggerRequest(dice.randrange(65536))
    if kind < 6:
        return Acknowledge(1 + dice.randrange(65535))
    return (RecipeRequest(1 + dice.randrange(15)), ResetRequest(), StatusQuery())[dice.randrange(3)]


# -- damage -----------------------------------------------------------------------------------------------------


def one_bit(dice: random.Random, data: bytes) -> bytes:
    return _xor(data, dice.randrange(len(data)), 1 << dice.randrange(8))


def two_bits(dice: random.Random, data: bytes) -> bytes:
    return one_bit(dice, one_bit(dice, data))


def one_byte(dice: random.Random, data: bytes) -> bytes:
    return _xor(data, dice.randrange(len(data)), 1 + dice.randrange(255))


def two_digits(dice: random.Random, data: bytes) -> bytes:
    """Two digits become others: what a controller with a fault of its own might send."""
    digits = [at for at, byte in enumerate(data) if 0x30 <= byte <= 0x39]
    damaged = bytearray(data)
    for at in dice.sample(digits, min(2, len(digits))):
        damaged[at] = dice.choice(b"0123456789")
    return bytes(damaged)


def swapped(dice: random.Random, data: bytes) -> bytes:
    at = dice.randrange(len(data) - 1)
    return data[:at] + data[at + 1 : at + 2] + data[at : at + 1] + data[at + 2 :]


def lost_byte(dice: random.Random, data: bytes) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + data[at + 1 :]


def noise_inside(dice: random.Random, data: bytes) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + dice.randbytes(1 + dice.randrange(4)) + data[at:]


def burst(dice: random.Random, data: bytes) -> bytes:
    at, length = dice.randrange(len(data)), 2 + dice.randrange(6)
    return data[:at] + dice.randbytes(min(length, len(data) - at)) + data[at + length :]


def cut(dice: random.Random, data: bytes) -> bytes:
    return data[: dice.randrange(len(data))]


DAMAGES: tuple[Damage, ...] = (
    one_bit, two_bits, one_byte, two_digits, swapped, lost_byte, noise_inside, burst, cut,
)  # fmt: skip


def _xor(data: bytes, at: int, mask: int) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


# -- the run ----------------------------------------------------------------------------------------------------


@dataclass
class Report:
    """What came of it. `accepted`: inputs of a kind after which a message was believed that nobody had said."""

    subject: Subject
    inputs: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    deaf: int = 0
    seconds: float = 0.0

    def sigmas(self) -> float:
        """How far the share of passed random checksums lies from what the checksum promises, in standard deviations."""
        count, odds = self.inputs["random checksum"], self.subject.odds
        return (self.accepted["random checksum"] - count * odds) / max(1e-9, math.sqrt(count * odds * (1 - odds)))

    def lines(self) -> list[str]:
        total, share = self.inputs.total(), self.accepted["random checksum"] / max(1, self.inputs["random checksum"])
        head = (
            f"{self.subject.name}: {total:,} inputs in {self.seconds:.0f} s, {len(self.crashes)} crashes, "
            f"{self.deaf} times deaf afterwards; random checksums passed {share:.3e}, promised {self.subject.odds:.3e} "
            f"({self.sigmas():+.1f} sigma)"
        )
        rows = [
            f"  {kind:16} {count:>9,} inputs, believed {self.accepted[kind]:>6,} ({self.accepted[kind] / count:.2e})"
            for kind, count in sorted(self.inputs.items())
        ]
        return [head, *rows, *(f"  CRASH {each}" for each in self.crashes[:10])]


def fuzz(subject: Subject, inputs: int, seed: int) -> Report:
    """Feed so many inputs, a tenth of them pure noise and a fifth of right form with a checksum by chance."""
    dice, report, codec = random.Random(seed), Report(subject), subject.make()
    begun = time.monotonic()
    for _ in range(inputs):
        kind, data, meant = _input(dice, subject)
        report.inputs[kind] += 1
        try:
            heard = codec.feed(data)
            report.accepted[kind] += any(message != meant for message in heard)
            report.deaf += not _hears(codec, subject)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is what is looked for
            report.crashes.append(f"{data!r}: {exc!r}")
            codec = subject.make()
    report.seconds = time.monotonic() - begun
    return report


def _input(dice: random.Random, subject: Subject) -> tuple[str, bytes, Message | None]:
    """An input, its kind, and what it says when it is understood all the same."""
    choice = dice.randrange(10)
    if choice == 0:
        return "noise", dice.randbytes(dice.randrange(1, 64)), None
    message = any_message(dice)
    said = subject.say(message)
    if choice <= 2:
        return "random checksum", _with_checksum(dice, subject, said), None
    damage = dice.choice(DAMAGES)
    return damage.__name__.replace("_", " "), damage(dice, said), message


def _with_checksum(dice: random.Random, subject: Subject, said: bytes) -> bytes:
    start, stop = (len(said) + edge for edge in (subject.checksum_at.start, subject.checksum_at.stop))
    return said[:start] + bytes(dice.choices(HEX, k=stop - start)) + said[stop:]


def _hears(codec: Codec, subject: Subject) -> bool:
    """Whether a message after a line end is understood, whatever came before."""
    heard = codec.feed(b"\r\n" + subject.say(StatusQuery()))
    return heard[-1:] == [StatusQuery()]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="for each decoder")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    failed = False
    for subject in subjects():
        report = fuzz(subject, options.inputs, options.seed)
        print("\n".join(report.lines()), flush=True)
        failed |= bool(report.crashes or report.deaf) or abs(report.sigmas()) > 5
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
