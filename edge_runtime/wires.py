"""The wires to the controller and to those who read reports, built from the settings: names their drivers.

Drivers are imported inside the functions that build them, so that each process loads only what it owns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from edge_runtime.clock import NS_PER_MS
from edge_runtime.config import Settings
from edge_runtime.config_mqtt import MqttSettings
from edge_runtime.config_signals import GpioSettings
from edge_runtime.interfaces import Input, Output
from edge_runtime.signal_io.safe_levels import SAFE_ACTIVE

if TYPE_CHECKING:
    from edge_runtime.interfaces import BytePort, DigitalLines, Publisher, RegisterServer
    from edge_runtime.protocol.codec import Codec
    from edge_runtime.protocol.handshake import Handshake
    from edge_runtime.protocol.messages import PartResult
    from edge_runtime.protocol.modbus_bank import RegisterBank
    from edge_runtime.protocol.mqtt_topics import TopicRules
    from edge_runtime.runtime.ejection import Ejection
    from edge_runtime.runtime.field_wire import FieldWire
    from edge_runtime.runtime.gpio_wire import GpioWire
    from edge_runtime.runtime.recipe_inputs import RecipeInputs
    from edge_runtime.runtime.serial_wire import SerialWire
    from edge_runtime.runtime.signals import Signals
    from edge_runtime.signal_io.gpio import OutputLine

PARITIES: dict[str, Literal["N", "E", "O"]] = {"none": "N", "even": "E", "odd": "O"}


def build_signals(settings: Settings) -> Signals:
    """The wires to the controller, as configured."""
    from edge_runtime.runtime.signals import Signals

    return Signals(
        lines=build_gpio_wire(settings),
        serial=build_serial_wire(settings),
        field=build_field_wire(settings),
        heartbeat_ms=settings.line.heartbeat_ms,
    )


def build_gpio_wire(settings: Settings) -> GpioWire | None:
    from edge_runtime.runtime.gpio_wire import GpioWire
    from edge_runtime.runtime.outputs import OutputLines

    gpio, lines = settings.gpio, build_lines(settings)
    if gpio is None or lines is None:
        return None
    pulses = {output: wiring.pulse_ms for output, wiring in gpio.outputs.items()}
    outputs = OutputLines(lines, pulses)
    return GpioWire(outputs, _build_ejection(settings), _build_recipe_inputs(gpio), build_handshake(settings))


def _build_recipe_inputs(gpio: GpioSettings) -> RecipeInputs | None:
    from edge_runtime.runtime.recipe_inputs import RecipeInputs

    if not gpio.recipe_bits:
        return None
    settle_ns = round(gpio.recipe_settle_ms * NS_PER_MS)
    return RecipeInputs(gpio.recipe_bits, Input.RECIPE_STROBE in gpio.inputs, settle_ns)


def build_field_wire(settings: Settings) -> FieldWire | None:
    """The line's end of the field bus."""
    from edge_runtime.runtime.field_wire import FieldWire

    modbus = settings.modbus
    if modbus is None:
        return None
    return FieldWire(settings.line.trigger == "modbus", modbus.acknowledge, modbus.max_unacknowledged)


def build_register_server(settings: Settings, bank: RegisterBank) -> RegisterServer:
    """The field bus as configured, not yet opened."""
    modbus = settings.modbus
    assert modbus is not None
    if modbus.mode == "rtu":
        from edge_runtime.signal_io.modbus_rtu import ModbusRtuServer
        from edge_runtime.signal_io.serial_port import SerialPort

        parity: Literal["N", "E", "O"] = PARITIES[modbus.parity]
        port = SerialPort(modbus.serial_port, modbus.baud_rate, parity, modbus.stop_bits)
        return ModbusRtuServer(bank, port, modbus.unit_id, modbus.baud_rate)
    from edge_runtime.protocol.peers import LOOPBACK
    from edge_runtime.signal_io.modbus_tcp import ModbusTcpServer

    may_read, may_write = (LOOPBACK if each is None else each for each in (modbus.allow_read, modbus.allow_write))
    return ModbusTcpServer(bank, (modbus.host, modbus.port), may_read, may_write, modbus.max_clients)


def _build_ejection(settings: Settings) -> Ejection | None:
    from edge_runtime.runtime.ejection import Ejection
    from edge_runtime.runtime.encoder import Encoder
    from edge_runtime.runtime.tracking import TrackRules

    ejection = settings.ejection
    if ejection is None:
        return None
    travel, min_gap, eye, tolerance = ejection.in_axis_units()
    rules = TrackRules(travel, min_gap, ejection.on_doubled, ejection.on_lost, eye, tolerance)
    if ejection.mode == "delay":
        return Ejection(rules, None)
    quadrature = settings.gpio is not None and Input.ENCODER_B in settings.gpio.inputs
    return Ejection(rules, Encoder(quadrature, ejection.standstill_ms), ejection.on_standstill == "reject")


def build_handshake(settings: Settings) -> Handshake[PartResult] | None:
    """The handshake that presents results on the lines, where the settings want it."""
    from edge_runtime.protocol.handshake import Handshake, HandshakeRules

    gpio = settings.gpio
    if gpio is None or gpio.verdicts != "handshake":
        return None
    times = gpio.handshake
    rules = HandshakeRules(times.max_results, round(times.setup_ms * NS_PER_MS), round(times.off_ms * NS_PER_MS))
    return Handshake(rules)


def build_serial_wire(settings: Settings) -> SerialWire | None:
    from edge_runtime.protocol.outbox import Outbox
    from edge_runtime.runtime.serial_link import SerialLink, WireSpeed
    from edge_runtime.runtime.serial_wire import SerialWire

    serial, port, codec = settings.serial, build_serial_port(settings), build_codec(settings)
    if serial is None or port is None:
        return None
    speed = WireSpeed.of(serial.baud_rate)
    ack_timeout_ns = speed.ack_timeout_ns(round(serial.ack_timeout_ms * NS_PER_MS), codec.max_bytes)
    acknowledge = serial.acknowledge and (serial.ascii is None or bool(serial.ascii.ack))
    outbox = Outbox(ack_timeout_ns, serial.max_unacknowledged, acknowledge, encode=codec.encode)
    return SerialWire(SerialLink(port, outbox, codec, speed), settings.line.trigger == "serial")


def build_codec(settings: Settings) -> Codec:
    """The protocol on the serial line."""
    if settings.serial is not None and settings.serial.ascii is not None:
        from edge_runtime.protocol.ascii_codec import AsciiCodec

        return AsciiCodec(settings.serial.ascii.templates())
    from edge_runtime.protocol.sentence import SentenceCodec

    return SentenceCodec()


def last_words(settings: Settings) -> bytes:
    """How the controller is told that the line has died."""
    from edge_runtime.protocol.messages import Down

    return build_codec(settings).encode(Down("line_died"))


def build_serial_port(settings: Settings) -> BytePort | None:
    serial = settings.serial
    if serial is None:
        return None
    if serial.driver == "recording":
        from edge_runtime.signal_io.recording import RecordingBytePort

        return RecordingBytePort(serial.journal)
    from edge_runtime.signal_io.serial_port import Rs485, SerialPort

    wanted = serial.rs485
    rs485 = None
    if wanted is not None:
        delays = (wanted.delay_before_tx_ms, wanted.delay_after_tx_ms)
        rs485 = Rs485(wanted.rts_level_for_tx, *delays, receives_own=wanted.loopback)
    return SerialPort(serial.port, serial.baud_rate, rs485=rs485)


def build_lines(settings: Settings) -> DigitalLines | None:
    gpio = settings.gpio
    if gpio is None:
        return None
    from edge_runtime.signal_io.gpio import GpioLines, InputLine

    outputs = _output_lines(gpio)
    if gpio.driver == "recording":
        from edge_runtime.signal_io.recording import RecordingLines

        safe_active = {output: line.is_safe_active(output) for output, line in outputs.items()}
        return RecordingLines(gpio.journal, gpio.inputs, safe_active or SAFE_ACTIVE, feed=gpio.feed)
    inputs = {
        name: InputLine(wiring.line, wiring.edge, wiring.debounce_us, wiring.bias)
        for name, wiring in gpio.inputs.items()
    }
    return GpioLines(gpio.chip, outputs, inputs)


def unsafe_without_power(gpio: GpioSettings) -> tuple[Output, ...]:
    """Outputs whose low line, as a box without power leaves it, does not say the safe thing."""
    return tuple(output for output, line in _output_lines(gpio).items() if not line.is_safe_without_power(output))


def _output_lines(gpio: GpioSettings) -> dict[Output, OutputLine]:
    from edge_runtime.signal_io.gpio import OutputLine

    return {
        output: OutputLine(wiring.line, wiring.active_low, wiring.safe_active)
        for output, wiring in gpio.outputs.items()
    }


def build_publisher(mqtt: MqttSettings, topics: TopicRules) -> Publisher:
    """The connection to the broker, not yet opened. When it ends without a word, the broker says `offline`."""
    from edge_runtime.protocol.mqtt_topics import Kind
    from edge_runtime.protocol.reports import OFFLINE
    from edge_runtime.signal_io.mqtt import Broker, MqttPublisher, TlsFiles, Will

    broker = Broker(
        *mqtt.address,
        mqtt.client_id or f"edge-runtime-{topics.station}",
        mqtt.keepalive_s,
        mqtt.username,
        mqtt.password_file,
        None if mqtt.tls is None else TlsFiles(mqtt.tls.ca_file, mqtt.tls.cert_file, mqtt.tls.key_file),
    )
    wishes = topics.topic(Kind.REPLAY) if mqtt.replay else None
    return MqttPublisher(broker, Will(topics.topic(Kind.STATUS), OFFLINE), wishes)
