"""Tables of a file as settings: one translation of pydantic's errors, with the keys that are allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from edge_runtime.validation import describe
from tools.errors import ToolError

Settings = TypeVar("Settings")


def checked(cls: type[Settings], values: Mapping[str, Any], where: str) -> Settings:
    """`values` as the dataclass `cls`. Raises ToolError: `where`, the key, what is wrong, and for an unknown key the
    allowed ones."""
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as exc:
        raise ToolError(f"{where}: {describe(exc)}{_allowed(cls, values)}") from exc
    except ToolError as exc:
        raise ToolError(f"{where}: {exc}") from exc


def _allowed(cls: type[Any], values: Mapping[str, Any]) -> str:
    names = [field.name for field in fields(cls)]
    return "" if set(values) <= set(names) else f"; allowed: {', '.join(names)}"
