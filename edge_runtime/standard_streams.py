"""Standard input, output and error as a daemon may find them: closed, or with nobody reading at the other end."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time

MAX_LINES_WAITING = 1000
FLUSH_WITHIN_S = 0.5
LOG_FORMAT = "%(asctime)s %(levelname)s {process} %(message)s"


def open_missing_streams() -> None:
    """Put /dev/null where 0, 1 or 2 is closed: the serial port would get that number, and what is printed."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def set_up_logging(process: str) -> None:
    """Log to standard error, which may block or lead nowhere. $EDGE_RUNTIME_LOG is the lowest level that is told."""
    wanted = os.environ.get("EDGE_RUNTIME_LOG", "").upper()
    level = wanted if wanted in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") else "INFO"
    handlers = [PatientHandler(sys.stderr.fileno())]
    logging.basicConfig(handlers=handlers, level=level, format=LOG_FORMAT.format(process=process))


class PatientHandler(logging.Handler):
    """Writes to a descriptor in a thread of its own: a reader that does not read costs lines, counted, never time."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._lines: queue.Queue[str] = queue.Queue(MAX_LINES_WAITING)
        self._dropped = 0
        threading.Thread(target=self._write_all, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Wait a moment for what waits to be written."""
        end = time.monotonic() + FLUSH_WITHIN_S
        while self._lines.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.005)

    def _write_all(self) -> None:
        while True:
            line = self._lines.get()
            dropped, self._dropped = self._dropped, 0
            note = f"({dropped} lines before this one are lost: nobody read them)\n" if dropped else ""
            self._write(f"{note}{line}\n".encode(errors="backslashreplace"))
            self._lines.task_done()

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:  # nobody is left to be told
            return
