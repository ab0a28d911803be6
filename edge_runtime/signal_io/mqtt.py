"""MQTT v5 by paho-mqtt: one client object per connection, so that nothing is queued where nobody sees it."""

from __future__ import annotations

import select
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, error_string
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_runtime.errors import SignalError
from edge_runtime.interfaces import Acknowledged, Received

CONNECT_WITHIN_S = 5.0
WINDOW_MAX = 100
RECEIVED_BYTES_MAX = 4096
DISCONNECT_WITH_WILL = 0x04
TOO_MUCH = "sends more than this process may hold in memory; no sound broker does"
QOS = 1


@dataclass(frozen=True)
class TlsFiles:
    """PEM files. No `ca_file`: the system's authorities. Certificate and key where the broker asks for them."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True)
class Broker:
    """Where the broker is and who this box is to it. The password is read from its file at each connection."""

    host: str
    port: int
    client_id: str
    keepalive_s: int = 15
    username: str | None = None
    password_file: Path | None = None
    tls: TlsFiles | None = None

    @property
    def address(self) -> str:
        return f"mqtt broker {self.host}:{self.port}"


@dataclass(frozen=True)
class Will:
    """What the broker publishes, retained, when this connection ends without a word."""

    topic: str
    payload: bytes


class MqttPublisher:
    """See `interfaces.Publisher`. Everything is published at QoS 1. One thread owns it.

    paho-mqtt takes packets of any size and any number of half-delivered messages: `processes.bound_memory` ends that.
    """

    def __init__(self, broker: Broker, will: Will, subscribe_to: str | None = None) -> None:
        self._broker = broker
        self._will = will
        self._subscribe_to = subscribe_to
        self._client: Client | None = None
        self._window = 1
        self._accepted = False
        self._trouble = ""
        self._events: list[Acknowledged | Received] = []

    def open(self) -> None:
        self.close()
        self._accepted, self._trouble, self._events = False, "", []
        client = self._new_client()
        try:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = RECEIVED_BYTES_MAX
            client.connect(
                self._broker.host, self._broker.port, self._broker.keepalive_s, clean_start=True, properties=properties
            )
            self._await_acceptance(client)
            self._subscribe(client)
        except MemoryError as exc:
            _drop(client)
            raise self._error(TOO_MUCH) from exc
        except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
            _drop(client)
            raise self._error(f"cannot connect: {exc}") from exc
        except SignalError:
            _drop(client)
            raise
        self._client = client

    @property
    def is_open(self) -> bool:
        return self._client is not None

    @property
    def window(self) -> int:
        return self._window

    @property
    def wants_to_write(self) -> bool:
        return self._client is not None and self._client.want_write()

    def fileno(self) -> int:
        sock = self._opened.socket()
        return -1 if sock is None else sock.fileno()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.PayloadFormatIndicator = 1
        client = self._opened
        told = client.publish(topic, payload, QOS, retain, properties)
        self._check(told.rc, client)
        return int(told.mid)

    def work(self) -> list[Acknowledged | Received]:
        client = self._opened
        try:
            self._check(client.loop_read(), client)
            while _has_more(client):
                self._check(client.loop_read(), client)
        except MemoryError as exc:
            raise self._error(TOO_MUCH) from exc
        if client.want_write():
            self._check(client.loop_write(), client)
        self._check(client.loop_misc(), client)
        events, self._events = self._events, []
        return events

    def close(self, *, goodbye: bool = False) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        if goodbye:
            client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=DISCONNECT_WITH_WILL))
        _drop(client)

    # -- inside -------------------------------------------------------------------------------------------------

    @property
    def _opened(self) -> Client:
        if self._client is None:
            raise self._error("is not connected")
        return self._client

    def _new_client(self) -> Client:
        broker = self._broker
        client = Client(CallbackAPIVersion.VERSION2, broker.client_id, protocol=MQTTProtocolVersion.MQTTv5)
        client.connect_timeout = CONNECT_WITHIN_S
        client.max_inflight_messages_set(WINDOW_MAX)
        client.will_set(self._will.topic, self._will.payload, QOS, retain=True)
        if broker.username is not None:
            client.username_pw_set(broker.username, self._password())
        if broker.tls is not None:
            client.tls_set_context(self._tls_context(broker.tls))
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _password(self) -> str | None:
        path = self._broker.password_file
        if path is None:
            return None
        try:
            return path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as exc:
            raise self._error(f"password file {path} cannot be read: {type(exc).__name__}") from None

    def _tls_context(self, files: TlsFiles) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=files.ca_file)
            if files.cert_file is not None:
                context.load_cert_chain(files.cert_file, files.key_file)
        except (OSError, ValueError) as exc:
            raise self._error(f"a file of mqtt.tls cannot be used: {exc}") from exc
        return context

    def _await_acceptance(self, client: Client) -> None:
        end_s = time.monotonic() + CONNECT_WITHIN_S
        while not self._accepted:
            sock = client.socket()
            if self._trouble or sock is None:
                raise self._error(self._trouble or "closed the connection")
            if time.monotonic() > end_s:
                raise self._error(f"says nothing for {CONNECT_WITHIN_S:.0f} s; is it an MQTT v5 broker?")
            select.select([sock], [sock] if client.want_write() else [], [], 0.1)
            self._check(client.loop_read(), client)
            self._check(client.loop_write(), client)

    def _subscribe(self, client: Client) -> None:
        if self._subscribe_to is not None:
            options = SubscribeOptions(qos=QOS, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
            result, _ = client.subscribe(self._subscribe_to, options=options)
            self._check(result, client)

    def _check(self, code: MQTTErrorCode, client: Client) -> None:
        if self._trouble:
            raise self._error(self._trouble)
        if client.socket() is None and code == MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise self._error("closed the connection")
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise self._error(f"is lost: {error_string(code)}")

    def _on_connect(
        self, client: Client, _data: Any, _flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._trouble = f"refuses the connection: {code}"
            return
        self._accepted = True
        self._window = min(WINDOW_MAX, int(getattr(properties, "ReceiveMaximum", WINDOW_MAX)))

    def _on_disconnect(
        self, client: Client, _data: Any, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._trouble = self._trouble or f"ended the connection: {code}"

    def _on_publish(
        self, client: Client, _data: Any, message_no: int, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._trouble = f"refuses a message: {code}; check its access rules"
        else:
            self._events.append(Acknowledged(message_no))

    def _on_message(self, client: Client, _data: Any, message: MQTTMessage) -> None:
        self._events.append(Received(message.topic, bytes(message.payload)))

    def _error(self, text: str) -> SignalError:
        return SignalError(f"{self._broker.address} {text}")


def _drop(client: Client) -> None:
    """Close without a word: the broker then publishes the will."""
    sock = client.socket()
    if sock is not None:
        sock.close()


def _has_more(client: Client) -> bool:
    """Whether TLS holds bytes that the kernel no longer shows as readable."""
    sock = client.socket()
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
