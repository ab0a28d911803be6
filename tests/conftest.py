"""What all tests share: no deadlines, since a busy machine must not fail one, a keyboard that can interrupt, a broker.

A shell that starts the tests in the background has them ignore SIGINT, and so would every program they start.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.ports import free_port

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
signal.signal(signal.SIGINT, signal.default_int_handler)


class Mosquitto:
    """A real broker on a port of its own, without persistence: killed, it forgets everything."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port = free_port()
        self._config = folder / f"mosquitto-{self.port}.conf"
        self._log = folder / f"mosquitto-{self.port}.log"
        user = ["user root"] if os.geteuid() == 0 else []
        anonymous = [] if any("allow_anonymous" in line for line in lines) else ["allow_anonymous true"]
        listener = f"listener {self.port} 127.0.0.1"
        self._config.write_text("\n".join([listener, "persistence false", *user, *anonymous, *lines, ""]))
        self.start()

    def start(self) -> None:
        command = [_mosquitto_program() or "", "-c", str(self._config), "-v"]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < end, self.log
                time.sleep(0.02)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """It takes bytes and answers nothing, as behind a cut cable."""
        self._process.send_signal(signal.SIGSTOP)

    @property
    def log(self) -> str:
        return self._log.read_text()


def _mosquitto_program() -> str | None:
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Start a broker; further lines of its configuration as arguments."""
    if _mosquitto_program() is None:
        pytest.skip("needs a broker: apt install mosquitto")
    brokers: list[Mosquitto] = []

    def start(*lines: str) -> Mosquitto:
        brokers.append(Mosquitto(tmp_path, *lines))
        return brokers[-1]

    yield start
    for broker in brokers:
        broker.kill()


class Ear:
    """Hears everything on a broker, from subscribing on, what is retained included.

    `subscribed`: how often; what a new broker was told before that is not heard.
    """

    def __init__(self, port: int) -> None:
        self.heard: list[MQTTMessage] = []
        self.subscribed = 0
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self.client.on_subscribe = self._count
        self.client.on_message = lambda _client, _data, message: self.heard.append(message)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.until(lambda: self.subscribed)

    def _count(self, *_: object) -> None:
        self.subscribed += 1

    def on(self, topic: str) -> list[bytes]:
        return [message.payload for message in list(self.heard) if message.topic == topic]

    def until(self, condition: Callable[[], object], timeout_s: float = 60.0) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"waited {timeout_s} s in vain; heard {len(self.heard)} messages"
            time.sleep(0.02)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def listen() -> Iterator[Callable[[int], Ear]]:
    """Start to hear everything on the broker at this port."""
    ears: list[Ear] = []

    def start(port: int) -> Ear:
        ears.append(Ear(port))
        return ears[-1]

    yield start
    for ear in ears:
        ear.close()
