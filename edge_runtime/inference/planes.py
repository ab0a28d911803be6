"""From what a network answers to class ids and scores, the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.errors import BundleError, InferenceError
from edge_runtime.inference.bundle import Bundle
from edge_runtime.inference.manifest import Artefact

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

OUTPUT_NAMES = {
    "class_and_score": ("class_ids", "scores"),
    "class_ids": ("class_ids",),
    "score": ("scores",),
}
INPUT_NAME = "tile"
FREE_TILE, FREE_CELLS = "tile_px", "cells"


@dataclass(frozen=True)
class Port:
    """An input or output of a network; `dtype` as NumPy names it, or the engine's own word for another type."""

    name: str
    dtype: str
    dims: tuple[object, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {'×'.join(map(str, self.dims))}"


def free_sides(bundle: Bundle, artefact: Artefact) -> dict[str, int]:
    """What the sides that an ONNX file for tiles of many sides leaves free are here, by the names it has for them."""
    if artefact.tile_range_px is None:
        return {}
    tile_px = bundle.input_contract.tile_px
    return {FREE_TILE: tile_px, FREE_CELLS: tile_px // bundle.mask_stride_px}


class Answers:
    """Checks and sorts the outputs of one bundle's network."""

    def __init__(self, bundle: Bundle) -> None:
        self._kind = bundle.manifest.output.kind
        self._side = bundle.input_contract.tile_px // bundle.mask_stride_px
        self._first_id = bundle.manifest.classes[0].id
        self._where = str(bundle.folder)

    def plane(self, view: Any, index: int) -> ImageU8:
        """Output `index` as uint8 (side, side), checked: a read-only view of `view`."""
        side = self._side
        if view.dtype != np.uint8 or view.size != side * side or view.shape[-2:] != (side, side):
            raise InferenceError(
                f"{self._where}: output {index} is {view.dtype} {view.shape}, the manifest promises uint8 "
                f"({side}, {side}); convert the model again and pack a new version"
            )
        plane: ImageU8 = view.reshape(side, side)
        plane.flags.writeable = False
        return plane

    def sorted(self, outputs: Sequence[ImageU8]) -> tuple[ImageU8, ImageU8]:
        """Class ids and scores."""
        if self._kind == "class_and_score":
            return outputs[0], outputs[1]
        (plane,) = outputs
        if self._kind == "class_ids":
            return plane, np.where(plane > 0, 255, 0).astype(np.uint8)
        return np.full_like(plane, self._first_id), plane


def check_count(bundle: Bundle, inputs: int, outputs: int) -> None:
    """Raise BundleError unless a network of so many inputs and outputs has one input and what the manifest promises."""
    kind = bundle.manifest.output.kind
    promised = len(OUTPUT_NAMES[kind])
    if (inputs, outputs) != (1, promised):
        raise BundleError(
            f"{bundle.folder}: output.kind {kind!r} means 1 input and {promised} outputs, the network "
            f"has {inputs} and {outputs}; correct the manifest"
        )


def check_ports(bundle: Bundle, file: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
    """Raise BundleError unless an ONNX network takes and gives what the manifest says, by name, type and size."""
    contract = bundle.input_contract
    side = contract.tile_px // bundle.mask_stride_px
    tile = Port(INPUT_NAME, "float32", (1, contract.channel_count, contract.tile_px, contract.tile_px))
    planes = [Port(name, "uint8", (1, side, side)) for name in OUTPUT_NAMES[bundle.manifest.output.kind]]
    if list(inputs) != [tile] or list(outputs) != planes:
        found, wanted = (
            f"{', '.join(map(str, ins))} → {', '.join(map(str, outs))}"
            for ins, outs in ((inputs, outputs), ([tile], planes))
        )
        raise BundleError(
            f"{bundle.folder / file}: the network is {found}, the manifest promises {wanted}; pack a new version"
        )
