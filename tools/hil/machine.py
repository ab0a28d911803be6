"""One virtual box: QEMU as a process, its USB socket, and the calls into it."""

from __future__ import annotations

import concurrent.futures
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tools.hil.workshop import BenchError

ADAPTER = "adapter"
HARDWARE = (
    *(
        "-M",
        "q35",
        "-cpu",
        "max",
        "-accel",
        "tcg,thread=single",
        "-icount",
        "shift=0,sleep=on",
        "-smp",
        "1",
        "-m",
        "1536",
    ),
    *("-nographic", "-no-reboot", "-nic", "none", "-device", "qemu-xhci,id=usb", "-device", "virtio-serial"),
)
KERNEL_LINE = "rw console=ttyS0 quiet systemd.show_status=0 net.ifnames=0"


class Box:
    """A running box. Its disk is an overlay that outlives a power cut; `calls` go to the agent inside.

    Synchronization: calls may come from several threads.
    """

    def __init__(self, kernel: Path, initramfs: Path, overlay: Path, project: Path, folder: Path) -> None:
        self._folder = folder
        self._console = (folder / "console.log").open("ab")
        self.controller_path = folder / "controller.sock"
        sockets = {name: folder / f"{name}.sock" for name in ("qmp", "agent")}
        for path in (*sockets.values(), self.controller_path):
            path.unlink(missing_ok=True)
        command = [
            *("nice", "-n", "5", "qemu-system-x86_64", *HARDWARE),
            *("-kernel", kernel, "-initrd", initramfs, "-append", KERNEL_LINE),
            *("-drive", f"file={overlay},if=virtio,format=qcow2,cache=writeback"),
            *("-drive", f"file={project},if=virtio,format=raw,readonly=on"),
            *("-qmp", f"unix:{sockets['qmp']},server=on,wait=off"),
            *("-chardev", f"socket,id=agent,path={sockets['agent']},server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=agent"),
            *("-chardev", f"socket,id=controller,path={self.controller_path},server=on,wait=off"),
        ]
        self._process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=self._console, stderr=self._console
        )
        self._qmp = Qmp(connect(sockets["qmp"], self._process))
        self._link = AgentLink(connect(sockets["agent"], self._process))

    def wait_for_agent(self, timeout_s: float = 900) -> None:
        """Until the box has booted as far as its agent. Raises BenchError."""
        try:
            self._link.hello.result(timeout_s)
        except concurrent.futures.TimeoutError as exc:
            self.cut_power()
            raise BenchError(f"the box did not boot within {timeout_s} s; see {self._folder}/console.log") from exc

    def start(self, call: str, **arguments: Any) -> Future[Any]:
        return self._link.start(call, arguments)

    def call(self, call: str, patience_s: float = 900, **arguments: Any) -> Any:
        """What the agent's function answers. Raises BenchError with its traceback, and when nothing comes."""
        try:
            return self.start(call, **arguments).result(patience_s)
        except concurrent.futures.TimeoutError as exc:
            raise BenchError(f"{call} did not answer within {patience_s} s") from exc

    def shell(self, command: str, timeout_s: float = 600) -> str:
        """What the command printed in the box. Raises BenchError when it fails."""
        code, text = self.call("box.shell", patience_s=timeout_s + 1800, command=command, timeout_s=timeout_s)
        if code:
            raise BenchError(f"in the box, `{command}` ended with {code}:\n{text[-3000:]}")
        return str(text)

    def plug_adapter(self) -> None:
        """Put the serial adapter into its USB socket; its other end is `controller_path`."""
        where = {"id": ADAPTER, "bus": "usb.0", "chardev": "controller"}
        self._qmp.execute("device_add", {"driver": "usb-serial", "always-plugged": True, **where})

    def pull_adapter(self) -> None:
        self._qmp.execute("device_del", {"id": ADAPTER})

    def cut_power(self) -> None:
        """The emulator is killed: what the box had not handed to its disk is gone."""
        self._process.kill()
        self._process.wait()
        self._console.close()


class Qmp:
    """QEMU's own control socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rwb")
        self._file.readline()
        self.execute("qmp_capabilities", {})

    def execute(self, command: str, arguments: Mapping[str, Any]) -> None:
        self._file.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        self._file.flush()
        while "return" not in (answer := json.loads(self._file.readline())):
            if "error" in answer:
                raise BenchError(f"QEMU refuses {command}: {answer['error']['desc']}")


class AgentLink:
    """Calls to the agent in the box, answered in any order."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._next_id = 1
        self.hello: Future[Any] = Future()
        self._open: dict[int, Future[Any]] = {0: self.hello}
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, call: str, arguments: Mapping[str, Any]) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            self._open[self._next_id] = future
            request = {"id": self._next_id, "call": call, "with": arguments}
            self._next_id += 1
            self._connection.sendall(json.dumps(request).encode() + b"\n")
        return future

    def _listen(self) -> None:
        for line in self._connection.makefile("rb"):
            message = json.loads(line)
            with self._lock:
                future = self._open.pop(message["id"], None)
            if future is None:
                continue
            if "error" in message:
                future.set_exception(BenchError(message["error"]))
            else:
                future.set_result(message["answer"])


def connect(path: Path, process: subprocess.Popen[bytes], timeout_s: float = 20) -> socket.socket:
    """A connection to a socket that QEMU opens when it starts. Raises BenchError."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s and process.poll() is None:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(os.fspath(path))
        except OSError:
            connection.close()
            time.sleep(0.05)
        else:
            return connection
    raise BenchError(f"QEMU did not open {path}; see console.log beside it")
