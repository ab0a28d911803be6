"""The MQTT driver against a real broker."""

from __future__ import annotations

import logging
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_runtime.errors import SignalError
from edge_runtime.interfaces import Acknowledged, Received
from edge_runtime.signal_io.mqtt import Broker, MqttPublisher, TlsFiles, Will

WILL = Will("box/status", b"offline")


@pytest.fixture
def make_publisher() -> Iterator[Callable[..., MqttPublisher]]:
    made: list[MqttPublisher] = []

    def make(port: int, subscribe_to: str | None = None, **broker: object) -> MqttPublisher:
        made.append(MqttPublisher(Broker("localhost", port, "box", **broker), WILL, subscribe_to))
        return made[-1]

    yield make
    for publisher in made:
        publisher.close()


def events(publisher: MqttPublisher, count: int) -> list[Acknowledged | Received]:
    """The next `count` events; raises what the publisher raises."""
    found: list[Acknowledged | Received] = []
    end = time.monotonic() + 10
    while len(found) < count:
        assert time.monotonic() < end
        select.select([publisher.fileno()], [], [], 0.1)
        found += publisher.work()
    return found


def test_what_is_published_arrives_in_order_and_is_acknowledged(mosquitto, listen, make_publisher):
    broker = mosquitto()
    ear = listen(broker.port)
    publisher = make_publisher(broker.port)
    publisher.open()
    numbers = [publisher.publish("box/record", str(n).encode()) for n in range(publisher.window)]
    acknowledged = events(publisher, len(numbers))
    assert sorted(event.message_no for event in acknowledged) == numbers
    ear.until(lambda: len(ear.on("box/record")) == len(numbers))
    assert ear.on("box/record") == [str(n).encode() for n in range(len(numbers))]
    assert {message.qos for message in ear.heard} == {1}


def test_a_large_message_is_written_whole(mosquitto, listen, make_publisher):
    broker = mosquitto()
    ear = listen(broker.port)
    publisher = make_publisher(broker.port)
    publisher.open()
    payload = b"x" * 5_000_000
    publisher.publish("box/record", payload)
    events(publisher, 1)
    ear.until(lambda: ear.on("box/record"))
    assert ear.on("box/record") == [payload]


def test_the_brokers_limit_of_unacknowledged_messages_is_the_window(mosquitto, make_publisher):
    publisher = make_publisher(mosquitto("max_inflight_messages 7").port)
    publisher.open()
    assert publisher.window == 7


def test_subscribed_messages_arrive_but_not_what_was_retained_before(mosquitto, listen, make_publisher):
    broker = mosquitto()
    ear = listen(broker.port)
    ear.client.publish("box/replay", b"old", 1, retain=True).wait_for_publish(5)
    publisher = make_publisher(broker.port, subscribe_to="box/replay")
    publisher.open()
    ear.client.publish("box/replay", b"new", 1)
    assert events(publisher, 1) == [Received("box/replay", b"new")]


def test_the_will_is_published_after_a_goodbye_and_after_none(mosquitto, listen, make_publisher):
    broker = mosquitto()
    ear = listen(broker.port)
    publisher = make_publisher(broker.port)
    for count, goodbye in enumerate((True, False), 1):
        publisher.open()
        publisher.close(goodbye=goodbye)
        ear.until(lambda count=count: ear.on("box/status") == [b"offline"] * count)
    late = listen(broker.port)
    late.until(lambda: late.on("box/status") == [b"offline"])  # retained


def test_a_broker_that_dies_is_noticed_and_can_be_opened_again(mosquitto, make_publisher):
    broker = mosquitto()
    publisher = make_publisher(broker.port)
    publisher.open()
    broker.kill()
    with pytest.raises(SignalError, match=f"localhost:{broker.port}"):
        events(publisher, 1)
    publisher.close()
    with pytest.raises(SignalError, match="cannot connect"):
        publisher.open()
    broker.start()
    publisher.open()
    publisher.publish("box/record", b"again")
    assert len(events(publisher, 1)) == 1


def test_a_message_that_the_broker_refuses_is_an_error_not_an_acknowledgement(mosquitto, tmp_path, make_publisher):
    rules = tmp_path / "acl"
    rules.write_text("topic write box/allowed\n")
    publisher = make_publisher(mosquitto(f"acl_file {rules}").port)
    publisher.open()
    publisher.publish("box/allowed", b"")
    assert len(events(publisher, 1)) == 1
    publisher.publish("box/record", b"")
    with pytest.raises(SignalError, match="refuses a message: Not authorized"):
        events(publisher, 1)


def test_of_two_boxes_with_one_client_id_the_first_is_thrown_out(mosquitto, make_publisher):
    broker = mosquitto()
    first, second = make_publisher(broker.port), make_publisher(broker.port)
    first.open()
    second.open()
    with pytest.raises(SignalError, match=r"lost|Session taken over"):
        events(first, 1)


def test_something_that_is_no_broker_is_given_up(make_publisher, monkeypatch):
    monkeypatch.setattr("edge_runtime.signal_io.mqtt.CONNECT_WITHIN_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(SignalError, match="says nothing"):
        make_publisher(server.getsockname()[1]).open()


GREEDY = """
import socket, sys, threading
from edge_runtime.errors import SignalError
from edge_runtime.processes import bound_memory
from edge_runtime.signal_io.mqtt import Broker, MqttPublisher, Will

CONNACK, LONGEST = bytes.fromhex("2003000000"), bytes.fromhex("ffffff7f")
HALF_DELIVERED = b"\\x34" + bytes.fromhex("8080 01") + b"\\0\\1a%c%c\\0" + bytes(2**14 - 6)

def answers():
    if sys.argv[1] == "long answer":
        yield b"\\x20" + LONGEST
    else:
        yield CONNACK
    if sys.argv[1] == "long message":
        yield b"\\x30" + LONGEST
    for number in range(1, 2**16):
        yield HALF_DELIVERED % divmod(number, 256) if sys.argv[1] == "half delivered" else bytes(2**16)

def serve(server):
    connection = server.accept()[0]
    connection.recv(4096)
    try:
        for answer in answers():
            connection.sendall(answer)
    except OSError:
        pass

server = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=(server,), daemon=True).start()
bound_memory(96 * 2**20)
publisher = MqttPublisher(Broker("127.0.0.1", server.getsockname()[1], "box"), Will("status", b"offline"))
try:
    publisher.open()
    while True:
        publisher.work()
except SignalError as exc:
    print(exc)
"""


@pytest.mark.parametrize("kind", ["long answer", "long message", "half delivered"])
def test_a_broker_that_sends_without_end_is_hung_up_on(kind):
    """paho would take 256 MB for one packet, and keep any number of half-delivered messages."""
    command = [sys.executable, "-c", GREEDY, kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "sends more than this process may hold in memory" in done.stdout, done


@pytest.fixture
def password_broker(mosquitto, tmp_path):
    accounts = tmp_path / "accounts"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(accounts), "box", "s3cret-ö"], check=True)
    return mosquitto("allow_anonymous false", f"password_file {accounts}")


def test_the_right_password_opens(password_broker, tmp_path, make_publisher):
    (tmp_path / "password").write_text("s3cret-ö\n")
    make_publisher(password_broker.port, username="box", password_file=tmp_path / "password").open()


def test_a_wrong_password_is_refused_and_told_nowhere(password_broker, tmp_path, make_publisher, caplog):
    caplog.set_level(logging.DEBUG)
    (tmp_path / "password").write_text("wrong-one")
    publisher = make_publisher(password_broker.port, username="box", password_file=tmp_path / "password")
    with pytest.raises(SignalError, match="refuses the connection: Not authorized") as failure:
        publisher.open()
    assert not publisher.is_open
    assert "wrong-one" not in f"{failure.value!r} {failure.value.__context__!r} {caplog.text} {publisher!r}"


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_password_file_that_cannot_be_read_is_named_without_its_content(tmp_path, make_publisher, content):
    if content is not None:
        (tmp_path / "password").write_bytes(content)
    publisher = make_publisher(1, username="box", password_file=tmp_path / "password")
    with pytest.raises(SignalError, match=r"password file .*/password cannot be read"):
        publisher.open()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory) -> Path:
    """A self-made authority, another one, a server's and a box's certificate of the first."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    for name in ("ca", "foreign"):
        openssl("req", "-x509", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    for name in ("server", "box"):
        openssl("req", *new_key[:-2], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        by_ca = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", *by_ca, "-out", f"{name}.pem")
    return folder


@pytest.fixture
def tls_broker(mosquitto, certificates):
    lines = (
        f"cafile {certificates}/ca.pem",
        f"certfile {certificates}/server.pem",
        f"keyfile {certificates}/server.key",
    )
    return lambda *more: mosquitto(*lines, *more)


def test_tls_carries_a_full_window_and_large_messages(tls_broker, certificates, make_publisher):
    publisher = make_publisher(tls_broker().port, tls=TlsFiles(certificates / "ca.pem"))
    publisher.open()
    for _ in range(publisher.window - 1):
        publisher.publish("box/record", b"x" * 1000)
    publisher.publish("box/record", b"x" * 3_000_000)
    assert len(events(publisher, publisher.window)) == publisher.window


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho drops the socket unclosed
def test_a_foreign_authority_and_no_tls_at_all_are_refused(tls_broker, certificates, make_publisher):
    broker = tls_broker()
    with pytest.raises(SignalError, match="certificate verify failed"):
        make_publisher(broker.port, tls=TlsFiles(certificates / "foreign.pem")).open()
    with pytest.raises(SignalError):
        make_publisher(broker.port).open()


def test_a_certificate_of_the_box_opens_where_one_is_asked_for(tls_broker, certificates, make_publisher):
    broker = tls_broker("require_certificate true")
    ca = certificates / "ca.pem"
    make_publisher(broker.port, tls=TlsFiles(ca, certificates / "box.pem", certificates / "box.key")).open()
    with pytest.raises(SignalError):
        make_publisher(broker.port, tls=TlsFiles(ca)).open()


def test_a_missing_certificate_file_is_an_error(make_publisher, tmp_path):
    with pytest.raises(SignalError, match=r"a file of mqtt\.tls cannot be used"):
        make_publisher(1, tls=TlsFiles(tmp_path / "none.pem")).open()
