"""Settings as TOML text: what the simulation hands to the daemon it starts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def to_toml(data: Mapping[str, Any], prefix: str = "") -> str:
    """Tables of JSON values as TOML; None is left out. `tomli.loads` gives the rest back."""
    plain = {key: value for key, value in data.items() if not isinstance(value, Mapping) and value is not None}
    tables = {key: value for key, value in data.items() if isinstance(value, Mapping)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, table in tables.items():
        name = prefix + _key(key)
        heads_only_tables = table and all(isinstance(each, Mapping) for each in table.values())
        lines += [] if heads_only_tables else ["", f"[{name}]"]
        lines.append(to_toml(table, name + ".").rstrip("\n"))
    return "\n".join(lines).lstrip("\n") + "\n" if not prefix else "\n".join(lines)


def _key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(each) for each in value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)
