"""Ports for servers that are stopped and started again."""

from __future__ import annotations

import random
import socket


def free_port() -> int:
    """Below those that the kernel gives to clients: one that tries again and again would at last connect to itself."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
