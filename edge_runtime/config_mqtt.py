"""Settings of the reports to an MQTT broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, model_validator

from edge_runtime.errors import ConfigError
from edge_runtime.protocol.mqtt_topics import TopicRules, check_template
from edge_runtime.validation import StrictModel


class MqttTlsSettings(StrictModel):
    """Encryption. An empty section takes the system's authorities; all files are PEM."""

    ca_file: Path | None = Field(default=None, description="Authorities to trust; unset: the system's")
    cert_file: Path | None = Field(default=None, description="This box's certificate, where the broker asks for one")
    key_file: Path | None = Field(default=None, description="Its private key")

    @model_validator(mode="after")
    def _key_has_a_certificate(self) -> MqttTlsSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        return self


class MqttSettings(StrictModel):
    """Reports to an MQTT v5 broker, at QoS 1. It only tells: no part waits for it. See [mqtt.md](mqtt.md)."""

    host: str = Field(min_length=1, max_length=253, description="Name or address of the broker")
    port: int | None = Field(default=None, ge=1, le=65_535, description="Unset: 1883, with tls 8883")
    tls: MqttTlsSettings | None = Field(default=None, description="Unset: not encrypted")
    username: str | None = Field(default=None, min_length=1, max_length=256, description="Unset: no login")
    password_file: Path | None = Field(default=None, description="File that holds the password and nothing else")
    client_id: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Unset: edge-runtime- and the station's name"
    )
    keepalive_s: int = Field(default=15, ge=5, le=600, description="A dead connection is noticed after twice this")
    topic: str = Field(
        default="{prefix}/{station}/{kind}",
        min_length=1,
        max_length=512,
        description="Template, or sparkplug; may also use {group} and {node}",
    )
    prefix: str = Field(default="edge-runtime", max_length=256, description="Stands for {prefix}")
    group: str = Field(default="factory", max_length=128, description="Stands for {group}")
    node: str = Field(default="inspection", max_length=128, description="Stands for {node}")
    replay: bool = Field(default=True, description="Consumers may ask for records again")
    discovery: bool = Field(default=False, description="Announce sensors to Home Assistant")
    discovery_prefix: str = Field(
        default="homeassistant", pattern=r"^[A-Za-z0-9_/-]{1,128}$", description="Its discovery topic"
    )

    @model_validator(mode="after")
    def _keys_fit_each_other(self) -> MqttSettings:
        check_template(self.topic)
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file needs a username")
        return self

    def topics(self, station: str) -> TopicRules:
        """Raises ValueError where the words cannot make a topic."""
        return TopicRules(self.topic, station, self.prefix, self.group, self.node)

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port or (1883 if self.tls is None else 8883)

    def check_files(self) -> None:
        """Raise ConfigError unless every file named here can be read, by this user. Their content is not judged."""
        for key, path in self._files():
            try:
                path.open("rb").close()
            except OSError as exc:
                raise ConfigError(f"{key}: {path} cannot be read: {exc.strerror}") from exc

    def _files(self) -> Iterator[tuple[str, Path]]:
        sections: list[tuple[str, StrictModel]] = [("mqtt", self)]
        sections += [("mqtt.tls", self.tls)] if self.tls is not None else []
        for name, section in sections:
            yield from ((f"{name}.{key}", value) for key, value in section if isinstance(value, Path))
