"""Answers calls that the bench writes into a virtio port: one JSON object a line in, one a line out.

`{"id": 1, "call": "gpio.levels", "with": {…}}` → `{"id": 1, "answer": …}` or `{"id": 1, "error": "…"}`. Each call runs
in a thread of its own, so a long one holds up no other.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import threading
import time
import traceback
from importlib import import_module
from typing import IO, Any

log = logging.getLogger(__name__)
MODULES = ("box", "gpio", "records")
PORT = "/dev/vport*p1"


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Carry out one call; whatever goes wrong in it is the answer."""
    try:
        module, _, name = request["call"].partition(".")
        if module not in MODULES:
            raise ValueError(f"no module {module!r}: {', '.join(MODULES)}")
        function = getattr(import_module(f"tools.hil.guest.{module}"), name)
        return {"id": request["id"], "answer": function(**request["with"])}
    except Exception:
        log.exception("a call went wrong")
        return {"id": request.get("id"), "error": traceback.format_exc()}


def serve(calls: IO[bytes], answers: IO[bytes]) -> None:
    """Until the port is closed. `answers` is buffered: the port alone takes but 32 KiB of a longer line."""
    lock = threading.Lock()

    def say(message: dict[str, Any]) -> None:
        with lock:
            answers.write(json.dumps(message).encode() + b"\n")
            answers.flush()

    say({"id": 0, "answer": "here"})
    for line in iter(calls.readline, b""):
        request = json.loads(line)
        threading.Thread(target=lambda request=request: say(answer(request)), daemon=True).start()


def main() -> None:
    while not (ports := glob.glob(PORT)):
        time.sleep(0.1)
    port = os.open(ports[0], os.O_RDWR)
    with os.fdopen(port, "rb") as calls, os.fdopen(os.dup(port), "wb") as answers:
        serve(calls, answers)


if __name__ == "__main__":
    main()
