"""The section [mqtt]: what a file may say, and which files it names must be there."""

from pathlib import Path

import pytest

from edge_runtime.commands import doctor
from edge_runtime.config import load_settings
from edge_runtime.config_mqtt import MqttSettings
from edge_runtime.errors import ConfigError
from edge_runtime.protocol.mqtt_topics import Kind

MINIMAL = '[camera]\ndriver = "synthetic"\n[inspection]\nbundle = "models/pcb"\n'


def load(folder: Path, text: str, station: str = "box") -> MqttSettings:
    file = folder / "settings.toml"
    file.write_text(f'[station]\nname = "{station}"\n{MINIMAL}[mqtt]\nhost = "broker.plant"\n{text}', encoding="utf-8")
    mqtt = load_settings(file).mqtt
    assert mqtt is not None
    return mqtt


def test_a_host_is_enough(tmp_path: Path) -> None:
    mqtt = load(tmp_path, "")
    assert mqtt.address == ("broker.plant", 1883)
    assert mqtt.topics("box").topic(Kind.RECORD) == "edge-runtime/box/record"
    mqtt.check_files()


def test_paths_are_relative_to_the_file_and_tls_has_a_port_of_its_own(tmp_path: Path) -> None:
    mqtt = load(tmp_path, 'username = "u"\npassword_file = "secret"\n[mqtt.tls]\nca_file = "certs/ca.pem"\n')
    assert mqtt.address == ("broker.plant", 8883)
    assert mqtt.password_file == tmp_path / "secret"
    assert mqtt.tls is not None
    assert mqtt.tls.ca_file == tmp_path / "certs" / "ca.pem"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('topic = "{prefix}/{staton}/{kind}"', r"mqtt: topic .*unknown placeholder \{staton\}; allowed: \{prefix\}"),
        ('topic = "{prefix}/{station}"', r"needs \{kind\}"),
        ('prefix = "a/#"', "contains"),
        ('prefix = ""', "empty level"),
        ('topic = "sparkplug"\ngroup = "a/b"', r"mqtt\.group 'a/b' cannot stand in a topic"),
        ('password_file = "secret"', "password_file needs a username"),
        ('password = "secret"', "unknown key 'password'; did you mean 'password_file'"),
        ("qos = 2", "unknown key 'qos'"),
        ("keepalive_s = 1", r"mqtt\.keepalive_s"),
        ('client_id = "a b"', r"mqtt\.client_id"),
        ('[mqtt.tls]\ncert_file = "box.pem"', "cert_file and key_file go together"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_a_station_that_cannot_stand_in_a_topic_is_refused_with_mqtt_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"station\.name 'a/b' cannot stand in a topic"):
        load(tmp_path, "", station="a/b")
    (tmp_path / "settings.toml").write_text(f'[station]\nname = "a/b"\n{MINIMAL}')
    assert load_settings(tmp_path / "settings.toml").station.name == "a/b"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    text = 'username = "u"\npassword_file = "secret"\n[mqtt.tls]\nca_file = "ca.pem"\n'
    with pytest.raises(ConfigError, match=r"mqtt\.password_file: .*/secret cannot be read: No such file"):
        load(tmp_path, text).check_files()
    (tmp_path / "secret").write_text("s")
    with pytest.raises(ConfigError, match=r"mqtt\.tls\.ca_file: .*/ca\.pem cannot be read"):
        load(tmp_path, text).check_files()
    (tmp_path / "ca.pem").write_text("c")
    load(tmp_path, text).check_files()


def test_doctor_says_which_file_is_missing_and_that_a_password_is_in_the_clear(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    load(tmp_path, 'username = "u"\npassword_file = "secret"\n')
    assert doctor.diagnose(tmp_path / "settings.toml") == 1
    told = capsys.readouterr().out
    assert "mqtt.password_file" in told
    assert "in the clear" in told
