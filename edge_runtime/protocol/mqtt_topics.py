"""Topic names on the broker, made from a template."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from string import Formatter

SPARKPLUG = "sparkplug"
SPARKPLUG_TEMPLATE = "spBv1.0/{group}/{kind}/{node}/{station}"
PLACEHOLDERS = ("prefix", "station", "group", "node", "kind")
MAX_TOPIC_BYTES = 1000


class Kind(str, Enum):
    """What a message is: one record; the box's state (retained); online or offline (retained); a consumer's wish."""

    RECORD = "record"
    STATE = "state"
    STATUS = "status"
    REPLAY = "replay"


SPARKPLUG_WORDS = {Kind.RECORD: "DDATA", Kind.STATE: "DBIRTH", Kind.STATUS: "STATE", Kind.REPLAY: "DCMD"}
"""What stands for {kind} in the names of Sparkplug B; the payloads stay JSON."""


@dataclass(frozen=True)
class TopicRules:
    """A template and what its placeholders stand for. Raises ValueError for what cannot be a topic.

    `template` holds `{kind}`, or is the word `sparkplug`. `group` and `node` may be empty where it does not use them.
    """

    template: str
    station: str
    prefix: str = ""
    group: str = ""
    node: str = ""

    def __post_init__(self) -> None:
        check_template(self.template)
        for kind in Kind:
            _check_topic(self.topic(kind))

    def topic(self, kind: Kind) -> str:
        sparkplug = self.template == SPARKPLUG
        return (SPARKPLUG_TEMPLATE if sparkplug else self.template).format(
            prefix=self.prefix,
            station=_one_level("station.name", self.station),
            group=_one_level("mqtt.group", self.group),
            node=_one_level("mqtt.node", self.node),
            kind=SPARKPLUG_WORDS[kind] if sparkplug else kind.value,
        )


def check_template(template: str) -> None:
    """Raise ValueError unless each placeholder is a known one, written plainly, and `{kind}` is among them."""
    if template == SPARKPLUG:
        return
    try:
        fields = [(name, spec, how) for _, name, spec, how in Formatter().parse(template) if name is not None]
    except ValueError as exc:
        raise ValueError(f"topic {template!r}: {exc}") from exc
    for name, spec, how in fields:
        if name not in PLACEHOLDERS or spec or how:
            allowed = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
            raise ValueError(f"topic {template!r}: unknown placeholder {{{name}}}; allowed: {allowed}")
    if "kind" not in [name for name, _, _ in fields]:
        raise ValueError(f"topic {template!r}: needs {{kind}}, or records and state would share one topic")


def _one_level(key: str, word: str) -> str:
    if "/" in word:
        raise ValueError(f"{key} {word!r} cannot stand in a topic: it contains '/'")
    return word


def _check_topic(topic: str) -> None:
    """Raise ValueError for what a broker would refuse or give a meaning of its own."""
    if not topic or topic.startswith(("$", "/")) or "//" in topic or topic.endswith("/"):
        raise ValueError(f"topic {topic!r}: has an empty level or starts with '$'")
    if re.search(r"[+#\x00-\x1f\x7f-\x9f]", topic):
        raise ValueError(f"topic {topic!r}: contains '+', '#' or a control character")
    if len(topic.encode()) > MAX_TOPIC_BYTES:
        raise ValueError(f"topic {topic[:60]!r}…: longer than {MAX_TOPIC_BYTES} bytes")
