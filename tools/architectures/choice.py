"""Which network to build: by name, or by a table of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edge_runtime.validation import describe
from tools.architectures.regnet import NAMED, RegnetSettings, build_regnet
from tools.architectures.unet import UnetSettings, build_unet
from tools.errors import ToolError
from tools.graph import Graph

UNET: TypeAdapter[UnetSettings] = TypeAdapter(UnetSettings)
REGNET: TypeAdapter[RegnetSettings] = TypeAdapter(RegnetSettings)


def build_network(table: Mapping[str, Any], input_channels: int, class_count: int, where: str) -> Graph:
    """The network of a table: `kind` is `unet`, `regnet` (own settings) or a RegNet's name, the rest its settings.

    Raises ToolError, beginning with `where`, for an unknown kind or setting.
    """
    settings = dict(table)
    kind = settings.pop("kind", "unet")
    if kind == "unet":
        return build_unet(_checked(UNET, settings, where), input_channels, class_count)
    if kind != "regnet" and kind not in NAMED:
        raise ToolError(f"{where}: no network is called {kind!r}; known: unet, regnet, {', '.join(NAMED)}")
    named = vars(NAMED[kind]) if kind in NAMED else {}
    return build_regnet(_checked(REGNET, {**named, **settings}, where), input_channels, class_count)


def _checked(settings: TypeAdapter[Any], values: dict[str, Any], where: str) -> Any:
    try:
        return settings.validate_python(values)
    except ValidationError as exc:
        raise ToolError(f"{where}: {describe(exc)}") from exc
