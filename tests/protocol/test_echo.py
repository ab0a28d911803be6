"""On a two-wire line what the box said comes back, and is not taken for the controller's words."""

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.protocol.echo import MAX_EXPECTED_BYTES, EchoFilter


@given(st.lists(st.binary(max_size=20)), st.binary(max_size=20), st.data())
def test_what_comes_back_is_taken_out_however_it_is_cut(sent, answer, data):
    echo = EchoFilter()
    for each in sent:
        echo.sent(each)
    stream, heard = b"".join(sent) + answer, b""
    while stream:
        count = data.draw(st.integers(1, len(stream)))
        heard, stream = heard + echo.received(stream[:count]), stream[count:]
    assert heard == answer
    assert echo.mismatches == 0


def test_a_damaged_echo_lets_everything_through_once():
    echo = EchoFilter()
    echo.sent(b"$HBT,1,ready*04\r\n")
    assert echo.received(b"$HBX,1,ready*04\r\n") == b"$HBX,1,ready*04\r\n"
    assert echo.mismatches == 1
    echo.sent(b"x")
    assert echo.received(b"x$ACK") == b"$ACK"


def test_an_echo_that_never_comes_is_not_waited_for():
    echo = EchoFilter()
    echo.sent(b"x" * (MAX_EXPECTED_BYTES + 1))
    assert echo.received(b"xx") == b"xx"
    echo.sent(b"y")
    echo.restart()
    assert echo.received(b"y") == b"y"
