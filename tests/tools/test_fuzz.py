"""The fuzzer itself: the decoders stand a short run of it, and it sees a decoder that does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_runtime.protocol.messages import Message, StatusQuery
from edge_runtime.protocol.sentence import SentenceCodec
from tools.fuzz import fuzz, subjects


@pytest.mark.parametrize("subject", subjects(), ids=lambda subject: subject.name)
def test_no_input_crashes_or_deafens_a_decoder_and_checksums_keep_their_promise(subject):
    report = fuzz(subject, 6000, seed=7)
    assert (report.crashes, report.deaf) == ([], 0)
    assert abs(report.sigmas()) < 5
    for kind in ("noise", "one bit", "cut", "lost byte"):
        assert report.accepted[kind] <= 2 + 10 * report.inputs[kind] * subject.odds
    assert report.inputs.total() == 6000


class Careless(SentenceCodec):
    """Believes every line, and fails on a letter."""

    def feed(self, data: bytes) -> list[Message]:
        if b"Z" in data:
            raise IndexError("Z")
        return [StatusQuery()] * data.count(b"\r\n")


def test_a_decoder_without_a_checksum_and_with_a_mistake_is_found():
    report = fuzz(replace(subjects()[0], make=Careless), 2000, seed=1)
    assert report.crashes
    assert report.sigmas() > 5
    assert "CRASH" in "\n".join(report.lines())
