"""The [inspection] section of a settings file rewritten: comments, order and everything else stay as they are."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from edge_runtime.config import read_text, settings_of
from edge_runtime.config_inspection import InspectionSettings
from edge_runtime.engines import target_of
from edge_runtime.errors import ConfigError
from edge_runtime.files import write_atomically

SECTION = "inspection"


@dataclass(frozen=True)
class Change:
    """A key of [inspection] and its value before and after; `new` None: the key goes."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{SECTION}.{self.key}: {_told(self.old)} → {_told(self.new)}"


def changes_of(inspection: InspectionSettings, wanted: Mapping[str, Any]) -> list[Change]:
    """What differs from the settings; a `target` that the backend takes anyway is not told."""
    new = InspectionSettings.model_validate({**inspection.model_dump(), **wanted})
    values = {**wanted, "target": None if target_of(new) == _usual_target(new) else new.target}
    if "backend" in wanted and inspection.backend == new.backend and target_of(inspection) == target_of(new):
        del values["target"]
    return [
        Change(key, getattr(inspection, key), value)
        for key, value in values.items()
        if getattr(inspection, key) != value
    ]


def rewritten(text: str, changes: Sequence[Change], path: Path) -> str:
    """The text with these changes, proved to be a settings file. Raises ConfigError, naming `path`."""
    try:
        document = tomlkit.parse(text)
        section: Any = document[SECTION]
        for change in changes:
            if change.new is None:
                section.pop(change.key, None)
            else:
                section[change.key] = _plain(change.new)
        new_text = tomlkit.dumps(document)
    except TOMLKitError as exc:
        raise ConfigError(f"{path}: cannot be rewritten: {exc}; change [{SECTION}] by hand") from exc
    inspection = settings_of(new_text, path).inspection
    wrong = [
        change.key for change in changes if change.new is not None and getattr(inspection, change.key) != change.new
    ]
    if wrong:
        raise ConfigError(f"{path}: {SECTION}.{wrong[0]} cannot be rewritten; change it by hand")
    return new_text


def write_changes(path: Path, changes: Sequence[Change]) -> Path:
    """Change a settings file, whole or not at all; where its old content was put. Raises ConfigError.

    The file's owner and rights stay: the daemon's user may read it as before.
    """
    path = path.resolve()
    old_text = read_text(path)
    new_text = rewritten(old_text, changes, path)
    backup = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}.bak")
    try:
        for file, text in ((backup, old_text), (path, new_text)):
            write_atomically(file, text.encode(), like=path)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be written: {exc.strerror}; run this as its owner, or --dry-run") from exc
    return backup


def _usual_target(inspection: InspectionSettings) -> str:
    return target_of(inspection.model_copy(update={"target": None}))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _told(value: Any) -> str:
    if value is None or value == ():
        return "unset"
    return str(tomlkit.item(_plain(value)).as_string())
