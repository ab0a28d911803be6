"""A consumer of records that misses none and takes none twice. Needs paho-mqtt 2.

    python mqtt_consumer.py HOST PORT TOPIC FILE

TOPIC is what stands before /record, /state and /replay, such as edge-runtime/line-1. Each record becomes one line of
FILE, which is also the memory of what was taken: a consumer of your own would keep both in one transaction.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

ASK_AGAIN_AFTER_S = 2.0


class Follower:
    """Follows the numbers of one station. `last` is the newest number taken of each epoch."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}
        self.known: dict[str, int] = {}  # the newest number that exists, as far as anybody said

    def take(self, record: dict[str, Any]) -> bool:
        """True: it is the next one. False: a repeat, or one that comes after a hole."""
        epoch, number, previous = record["epoch"], record["record_no"], record["previous_no"]
        last = self.last.get(epoch, 0)
        self.exists(epoch, number)
        if not previous <= last < number:
            return False
        self.last[epoch] = number
        return True

    def exists(self, epoch: str, number: int) -> None:
        self.known[epoch] = max(number, self.known.get(epoch, 0))

    def wishes(self) -> list[dict[str, Any]]:
        """What to ask for, while something is missing."""
        lasts = ((epoch, self.last.get(epoch, 0), known) for epoch, known in self.known.items())
        return [{"epoch": epoch, "after": last} for epoch, last, known in lasts if last < known]


class Consumer:
    """The connection, with a follower and a file behind it."""

    def __init__(self, topic: str, file: Path) -> None:
        self._topic = topic
        self._file = file
        self._follower = Follower()
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.reconnect_delay_set(1, 5)
        self.client.on_connect = lambda client, *_: client.subscribe([(f"{topic}/record", 1), (f"{topic}/state", 1)])
        self.client.on_message = self._on_message
        for line in file.read_text().splitlines() if file.exists() else ():
            self._follower.take({**json.loads(line), "previous_no": 0})

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        told = json.loads(message.payload)
        if message.topic.endswith("/state"):
            self._follower.exists(told["reported"]["epoch"], told["reported"]["record_no"])
        elif self._follower.take(told):
            with open(self._file, "a") as file:
                file.write(json.dumps(told) + "\n")

    def ask_for_what_is_missing(self, progress: dict[str, int]) -> dict[str, int]:
        """Unless something came since the last look: `progress` is what this returned then."""
        here = dict(self._follower.last)
        if here == progress:
            for wish in self._follower.wishes():
                self.client.publish(f"{self._topic}/replay", json.dumps(wish), 1)
        return here


def main() -> None:
    host, port, topic, file = sys.argv[1:]
    consumer, progress = Consumer(topic, Path(file)), {"": 0}
    consumer.client.connect_async(host, int(port))
    consumer.client.loop_start()
    while True:
        time.sleep(ASK_AGAIN_AFTER_S)
        if consumer.client.is_connected():
            progress = consumer.ask_for_what_is_missing(progress)


if __name__ == "__main__":
    main()
