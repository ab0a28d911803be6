"""The serial link while its port is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.clock import NS_PER_S
from edge_runtime.protocol.outbox import Outbox
from edge_runtime.runtime.serial_link import SerialLink
from edge_runtime.signal_io.serial_port import SerialPort


def test_why_a_port_cannot_be_opened_is_told_once_and_again_when_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = SerialLink(SerialPort(f"{tmp_path}/tty*"), Outbox(NS_PER_S, 10))
    for now_s in range(20):
        if now_s == 10:
            (tmp_path / "tty0").touch()  # an adapter is there, and refuses
        assert not link.open_if_due(now_s * 10 * NS_PER_S)
    told = [record.message for record in caplog.records]
    assert len(told) == 2
    assert "it matches nothing" in told[0]
    assert f"serial port {tmp_path}/tty0" in told[1]
