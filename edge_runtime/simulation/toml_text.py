"""Settings as TOML text: what the simulation hands to the daemon it starts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def to_toml(data: Mapping[str, Any], prefix: str = "") -> str:
    """Tables of JSON values as TOML; None is left out. `tomli.loads` gives the rest back."""
    plain = {key: value for key, value in data.items() if not isinstance(value, Mapping) and value is not None}
    tables = {key: value for key, value in data.items() if isinstance(value, Mapping)}
    lines = [f"{json.dumps(key)} = {_value(value)}" for key, value in plain.items()]
    for key, table in tables.items():
        name = prefix + json.dumps(key)
        lines += ["", f"[{name}]", to_toml(table, name + ".").strip("\n")]
    return "\n".join(lines).strip("\n") + "\n"


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(each) for each in value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)
