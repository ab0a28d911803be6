"""The window of unacknowledged records, and where the cursor goes on: both pure."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.clock import NS_PER_S
from edge_runtime.runtime.record_report import ReportWindow
from edge_runtime.runtime.report_cursor import CursorFile, resume
from edge_runtime.runtime.reporter import backoff_ns
from edge_runtime.store_interfaces import FeedPosition

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "mqtt_consumer.py"


@given(count=st.integers(1, 30), data=st.data())
def test_reached_is_the_end_of_what_is_acknowledged_without_a_gap(count, data):
    window, acknowledged = ReportWindow(100), set()
    for number in range(count):
        window.sent(message_no=number, record_no=101 + number)
    for number in data.draw(st.permutations(range(count))):
        assert window.acknowledged(number)
        acknowledged.add(number)
        gapless = next(n for n in range(count + 1) if n not in acknowledged)
        assert window.reached == 100 + gapless
        assert len(window) == count - gapless


def test_an_acknowledgement_of_something_else_changes_nothing():
    window = ReportWindow(0)
    window.sent(1, 1)
    assert not window.acknowledged(2)
    assert (window.reached, len(window)) == (0, 1)
    window.forget()
    assert not window.acknowledged(1)
    assert (window.reached, len(window)) == (0, 0)


def test_going_back_for_a_consumer_does_not_take_the_cursor_back():
    window = ReportWindow(0)
    for message_no, record_no in enumerate((1, 2, 3, 1, 2, 3, 4)):
        window.sent(message_no, record_no)
    for message_no in range(4):
        window.acknowledged(message_no)
    assert window.reached == 3
    for message_no in range(4, 7):
        window.acknowledged(message_no)
    assert window.reached == 4


def test_where_to_go_on():
    end = FeedPosition("ab", 50)
    assert resume(None, end) == FeedPosition("ab", 0)
    assert resume(FeedPosition("ab", 20), end) == FeedPosition("ab", 20)
    assert resume(FeedPosition("ab.3", 20), end) == FeedPosition("ab.3", 20)
    assert resume(FeedPosition("cd", 20), end) == FeedPosition("ab", 0)


def test_an_older_copy_of_the_file_gets_an_epoch_of_its_own():
    assert resume(FeedPosition("ab", 70), FeedPosition("ab", 50)) == FeedPosition("ab.1", 50)
    assert resume(FeedPosition("ab.1", 70), FeedPosition("ab", 50)) == FeedPosition("ab.2", 50)


@given(epoch=st.from_regex(r"[0-9a-f]{1,16}(\.[1-9])?", fullmatch=True), record_no=st.integers(0, 2**62))
def test_a_cursor_is_read_as_it_was_written(tmp_path_factory, epoch, record_no):
    file = CursorFile(tmp_path_factory.mktemp("cursor") / "cursor.json")
    assert file.read() is None
    file.write(FeedPosition(epoch, record_no))
    assert file.read() == FeedPosition(epoch, record_no)


@given(st.binary(max_size=100))
def test_a_damaged_cursor_is_as_none(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("cursor") / "cursor.json"
    path.write_bytes(content)
    assert CursorFile(path).read() is None


def test_the_wait_for_a_broker_grows_to_half_a_minute():
    assert [backoff_ns(failures) // NS_PER_S for failures in (1, 2, 3, 4, 5, 6, 7, 1000)] == [
        1,
        2,
        4,
        8,
        16,
        30,
        30,
        30,
    ]


def _follower():
    spec = importlib.util.spec_from_file_location("mqtt_consumer", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Follower()


@given(st.data())
def test_a_follower_takes_each_record_once_in_order_however_messages_are_lost_and_repeated(data):
    """A channel that loses and repeats what it likes, but answers each wish from there on."""
    follower, taken, end, sent = _follower(), [], 20, 0
    numbers = sorted(data.draw(st.sets(st.integers(1, end), min_size=1)))  # the others were deleted
    for _ in range(200):
        if follower.last.get("ab") == numbers[-1]:
            break
        position = data.draw(st.sampled_from([sent, *(wish["after"] for wish in follower.wishes())]))
        for number in [each for each in numbers if each > position][: data.draw(st.integers(0, 4))]:
            arrives = data.draw(st.booleans())
            if arrives and follower.take({"epoch": "ab", "record_no": number, "previous_no": position}):
                taken.append(number)
            position = number
        sent = position if position < numbers[-1] else follower.last.get("ab", 0)
        follower.exists("ab", numbers[-1])
    assert taken == numbers[: len(taken)]
    if follower.last.get("ab") == numbers[-1]:
        assert taken == numbers
        assert follower.wishes() == []
