"""The project's own tests of the signal drivers, with the simulated chip that they skip without."""

from __future__ import annotations

import re

from tools.hil.report import expect
from tools.hil.station import Station

FILES = "tests/signal_io/test_digital_lines.py tests/signal_io/test_gpio.py"
PYTEST = "HOME=/tmp /opt/edge-runtime/venv/bin/python -m pytest -p no:cacheprovider -q -rs"


def run(station: Station) -> str:
    """All of them pass in the box, as root; none is skipped."""
    text = station.box.shell(f"cd /opt/hil && {PYTEST} {FILES} 2>&1 || true")
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|error)", text)}
    expect(counts.get("passed", 0) > 0 and not counts.keys() - {"passed"}, text[-3000:])
    return f"{counts['passed']} passed, none skipped"
