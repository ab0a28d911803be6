"""Which network to build: by name, or by a table of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.architectures.classic import classic_unet
from tools.architectures.regnet import NAMED, RegnetSettings, build_regnet
from tools.architectures.unet import UnetSettings, build_unet
from tools.checked import checked
from tools.errors import ToolError
from tools.graph import Graph

CLASSIC = "classic"


def build_network(table: Mapping[str, Any], input_channels: int, class_count: int, where: str) -> Graph:
    """The network of a table: `kind` is `unet`, `regnet` (own settings) or a RegNet's name, the rest its settings.

    `classic`, which has none, is there to be compared with.

    Raises ToolError, beginning with `where`, for an unknown kind or setting.
    """
    settings = dict(table)
    kind = settings.pop("kind", "unet")
    if kind == "unet":
        return build_unet(checked(UnetSettings, settings, where), input_channels, class_count)
    if kind == CLASSIC:
        if settings:
            raise ToolError(f"{where}: {kind} has no settings, but {', '.join(settings)} is given")
        return classic_unet(input_channels, class_count)
    if kind not in ("regnet", *NAMED):
        raise ToolError(f"{where}: no network is called {kind!r}; known: unet, regnet, {', '.join((*NAMED, CLASSIC))}")
    named = vars(NAMED[kind]) if kind in NAMED else {}
    return build_regnet(checked(RegnetSettings, {**named, **settings}, where), input_channels, class_count)
