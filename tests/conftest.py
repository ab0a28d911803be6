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

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
signal.signal(signal.SIGINT, signal.default_int_handler)


class Mosquitto:
    """A real broker on a port of its own, without persistence: killed, it forgets everything."""

    def __init__(self, folder: Path, *lines: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
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
