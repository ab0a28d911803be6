"""A Modbus master that triggers, reads and acknowledges as a controller does, and checks each reading."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from edge_runtime.clock import NS_PER_MS, NS_PER_S
from edge_runtime.protocol.modbus_image import numbers_of
from edge_runtime.protocol.modbus_map import COMMANDS_AT, IMAGE_WORDS, STATUS_BITS, WORD_MAX

TRIGGER, ACKNOWLEDGE = COMMANDS_AT, COMMANDS_AT + 1
READY = 1 << STATUS_BITS.index("ready")
OPEN_PARTS = 4  # enough that no worker waits for the next part
DRAIN_NS = 20 * NS_PER_S
TIMEOUT_S = 1.0


@dataclass
class Tally:
    """What a master saw. `read_ms` is from the request to its answer; the counts of what is wrong should be 0.

    `torn`: result_id and result_id_again differ. `changed`: one result_id with two contents. `wrong`: an id that does
    not belong to its part, a line_seqno that was not the next one due, a result that came twice or not at all.
    """

    read_ms: list[float] = field(default_factory=list)
    late_polls: int = 0
    errors: int = 0
    first_error: str = ""
    torn: int = 0
    changed: int = 0
    wrong: int = 0
    triggered: int = 0
    outcome_of: dict[int, tuple[int, int]] = field(default_factory=dict)  # part_id -> line_seqno, outcome code


class Master:
    """One connection. `run` blocks; an error is counted, and the next poll connects anew."""

    def __init__(self, port: int) -> None:
        self.tally = Tally()
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # errors are counted here
        self._client: Any = ModbusTcpClient("127.0.0.1", port=port, timeout=TIMEOUT_S, retries=0)
        self._open: deque[int] = deque()
        self._last: tuple[int, dict[str, int]] = (0, {})
        self._seqno = 0

    def wait_until_ready(self, timeout_s: float) -> bool:
        end_ns = time.monotonic_ns() + round(timeout_s * NS_PER_S)
        while time.monotonic_ns() < end_ns:
            if self._poll().get("status_bits", 0) & READY:
                self.tally = Tally()
                return True
            time.sleep(0.05)
        return False

    def run(self, seconds: float, polls_hz: float) -> Tally:
        """Poll at this rate; then take the results that are still due, without new triggers."""
        start_ns, period_ns = time.monotonic_ns(), round(NS_PER_S / polls_hz)
        end_ns, due_ns = start_ns + round(seconds * NS_PER_S), start_ns
        while due_ns < end_ns or (self._open and due_ns < end_ns + DRAIN_NS):
            self._act(self._poll(), may_trigger=due_ns < end_ns)
            due_ns += period_ns
            behind_ns = time.monotonic_ns() - due_ns
            if behind_ns > 0:
                self.tally.late_polls += 1
                due_ns += behind_ns // period_ns * period_ns
            else:
                time.sleep(-behind_ns / NS_PER_S)
        self.tally.wrong += len(self._open)
        self._client.close()
        return self.tally

    def _poll(self) -> dict[str, int]:
        """The registers by name; {} after an error."""
        began_ns = time.perf_counter_ns()
        response = self._ask(lambda: self._client.read_holding_registers(0, count=IMAGE_WORDS))
        if response is None:
            return {}
        self.tally.read_ms.append((time.perf_counter_ns() - began_ns) / NS_PER_MS)
        return numbers_of(response.registers)

    def _act(self, image: dict[str, int], may_trigger: bool) -> None:
        if not image:
            return
        self._judge(image)
        if may_trigger and image["status_bits"] & READY and len(self._open) < OPEN_PARTS:
            seqno = self._seqno % WORD_MAX + 1
            if self._write(TRIGGER, seqno):
                self._seqno = seqno
                self._open.append(seqno)
                self.tally.triggered += 1

    def _judge(self, image: dict[str, int]) -> None:
        result_id = image["result_id"]
        if result_id != image["result_id_again"]:
            self.tally.torn += 1
        elif result_id == self._last[0] != 0:
            self.tally.changed += _result_part(image) != self._last[1]
        elif result_id:
            self._last = (result_id, _result_part(image))
            self._take(image)
        if result_id:
            self._write(ACKNOWLEDGE, result_id)

    def _take(self, image: dict[str, int]) -> None:
        part_id, seqno = image["part_id"], image["line_seqno"]
        due = self._open.popleft() if self._open else 0
        is_right = image["result_id"] == part_id % WORD_MAX + 1 and seqno == due
        if not is_right or part_id in self.tally.outcome_of:
            self.tally.wrong += 1
        self.tally.outcome_of[part_id] = (seqno, image["outcome"])

    def _write(self, address: int, value: int) -> bool:
        return self._ask(lambda: self._client.write_register(address, value)) is not None

    def _ask(self, request: Any) -> Any:
        try:
            response = request()
            if not response.isError():
                return response
            trouble = f"exception {response.exception_code}"
        except (ModbusException, OSError) as exc:
            trouble = str(exc)
            self._client.close()
        self.tally.errors += 1
        self.tally.first_error = self.tally.first_error or trouble
        return None


def _result_part(image: dict[str, int]) -> dict[str, int]:
    """The registers of the result alone."""
    names = list(image)
    return {name: image[name] for name in names[names.index("result_id") : names.index("result_id_again") + 1]}
