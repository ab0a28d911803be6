"""mbpoll beside the measurement: an independent Modbus master (libmodbus), its answers read from its own output."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from dataclasses import dataclass

from edge_runtime.protocol.modbus_image import numbers_of
from edge_runtime.protocol.modbus_map import IMAGE_WORDS, WORD_MAX

PROGRAM = "mbpoll"
VALUE = re.compile(rb"^\[(\d+)\]:\s+(\d+)")
FAILED = re.compile(rb"failed", re.IGNORECASE)


@dataclass
class MbpollTally:
    """`wrong`: a result_id that does not belong to its part_id."""

    polls: int = 0
    errors: int = 0
    first_error: str = ""
    torn: int = 0
    wrong: int = 0


class Mbpoll:
    """Polls the whole image until `stop`. Needs the Debian package mbpoll."""

    def __init__(self, port: int, polls_hz: float) -> None:
        self.tally = MbpollTally()
        poll_ms = str(max(11, round(1000 / polls_hz)))
        arguments = ["-m", "tcp", "-p", str(port), "-0", "-t", "4", "-r", "0", "-c", str(IMAGE_WORDS), "-l", poll_ms]
        command = [PROGRAM, *arguments, "127.0.0.1"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def stop(self) -> MbpollTally:
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        return self.tally

    def _read(self) -> None:
        assert self._process.stdout is not None
        words: dict[int, int] = {}
        for line in self._process.stdout:
            if value := VALUE.match(line):
                words[int(value[1])] = int(value[2]) & WORD_MAX
                if int(value[1]) == IMAGE_WORDS - 1:
                    self._judge(words)
                    words = {}
            elif FAILED.search(line):
                self.tally.errors += 1
                self.tally.first_error = self.tally.first_error or line.decode("utf-8", "replace").strip()

    def _judge(self, words: dict[int, int]) -> None:
        self.tally.polls += 1
        if len(words) != IMAGE_WORDS:
            self.tally.errors += 1
            return
        numbers = numbers_of(words)
        self.tally.torn += numbers["result_id"] != numbers["result_id_again"]
        if numbers["result_id"]:
            self.tally.wrong += numbers["result_id"] != numbers["part_id"] % WORD_MAX + 1


def is_here() -> bool:
    return shutil.which(PROGRAM) is not None
