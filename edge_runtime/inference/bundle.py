"""Bundles: a model's folder, read before anything trusts it."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.errors import BundleError
from edge_runtime.inference.golden import (
    GoldenTile,
    decode_png,
)
from edge_runtime.inference.manifest import (
    Artefact,
    FileEntry,
    Golden,
    Manifest,
    model_id_of,
    parse_manifest,
)
from edge_runtime.inference.onnx_file import check_onnx
from edge_runtime.values import DefectClass, InputContract, Mask
from edge_runtime.vision.gate import TemplateGate

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 1024 * 1024
MACHINES = {"x86_64": "x86", "amd64": "x86", "aarch64": "arm", "arm64": "arm", "armv7l": "arm", "armv8l": "arm"}
ANSWER = "copy the bundle again from where it was made"


@dataclass(frozen=True)
class Bundle:
    """A model whose manifest is valid and whose files were all present and unchanged when it was loaded.

    `tile_px`: the side of the tiles it is used with; None: that of the manifest's input.
    """

    folder: Path
    manifest: Manifest
    digest: str
    tile_px: int | None = None

    @property
    def model_id(self) -> str:
        """See `model_id_of`."""
        return model_id_of(self.manifest, self.digest)

    @property
    def input_contract(self) -> InputContract:
        """With the side of the tiles in use."""
        contract = self.manifest.input.contract()
        return contract if self.tile_px is None else replace(contract, tile_px=self.tile_px)

    @property
    def classes(self) -> tuple[DefectClass, ...]:
        return tuple(entry.defect_class() for entry in self.manifest.classes)

    @property
    def mask_stride_px(self) -> int:
        return self.manifest.output.mask_stride_px

    @property
    def gate(self) -> TemplateGate | None:
        """What tells which tiles need not be computed, if the bundle has it."""
        entry = self.manifest.gate
        if entry is None:
            return None
        return TemplateGate(entry.tolerance_px, entry.block_px, entry.reach_px, entry.threshold)

    def tile_sides_px(self, target: str) -> range:
        """The sides of tiles that the artefact for `target` runs. Raises BundleError for a target it lacks."""
        artefact = self.artefact_for(target)
        first, last = artefact.tile_range_px or (artefact.tile_px, artefact.tile_px)
        return range(first, last + 1, self.manifest.input.stride_px)

    def with_tiles(self, tile_px: int, target: str) -> Bundle:
        """The same bundle used with tiles of this side. Raises BundleError for one that the artefact does not run."""
        sides = self.tile_sides_px(target)
        if tile_px not in sides:
            offered = f"{sides[0]}" if len(sides) == 1 else f"{sides[0]} to {sides[-1]} in steps of {sides.step}"
            raise BundleError(
                f"{self.folder}: tiles of {tile_px} px: its network for {target} runs {offered}; choose one of these"
            )
        return replace(self, tile_px=tile_px)

    def artefact_for(self, target: str) -> Artefact:
        for artefact in self.manifest.artefacts:
            if artefact.target == target:
                return artefact
        available = ", ".join(artefact.target for artefact in self.manifest.artefacts)
        raise BundleError(
            f"{self.folder}: no artefact for {target}; the bundle has {available}, this machine is "
            f"{platform.machine()}; convert the model for {target} and pack a new version"
        )

    def read(self, entry: FileEntry) -> bytes:
        """The file's bytes, which have just been proved to be the ones the manifest names."""
        data = _read_inside(self.folder, entry.file, entry.size_bytes)
        if len(data) != entry.size_bytes:
            raise BundleError(
                f"{self.folder / entry.file}: size_bytes is {len(data)}, the manifest says {entry.size_bytes}; {ANSWER}"
            )
        digest = hashlib.sha256(data).hexdigest()
        if digest != entry.sha256:
            raise BundleError(
                f"{self.folder / entry.file}: sha256 is {digest[:8]}…, the manifest says {entry.sha256[:8]}…; {ANSWER}"
            )
        return data

    def read_onnx(self, artefact: Artefact) -> bytes:
        """The proved bytes of an ONNX network that needs no other file. Raises BundleError for any other network."""
        where = str(self.folder / artefact.file)
        if artefact.opset is None:
            raise BundleError(f"{where}: made for {artefact.target}, not an ONNX file; choose another target")
        data = self.read(artefact)
        check_onnx(data, artefact.opset, where)
        return data

    def read_golden(self, entry: Golden) -> GoldenTile:
        """A golden tile, decoded, whole; raises BundleError for pictures of another size or depth."""
        side_px = self.manifest.golden_side_px(entry)
        cells = side_px // self.mask_stride_px
        class_ids, scores = self._picture(entry.class_ids, cells, 1), self._picture(entry.scores, cells, 1)
        template = self._picture(entry.template, side_px, 1) if entry.template else None
        mask = Mask(class_ids, scores, self.mask_stride_px)
        return GoldenTile(self._picture(entry.picture, side_px, 3), mask, template)

    def _picture(self, entry: FileEntry, side_px: int, channels: int) -> ImageU8:
        return decode_png(self.read(entry), side_px, channels, str(self.folder / entry.file))


def machine_target() -> str:
    """The artefact target this machine runs: x86 or arm."""
    machine = platform.machine().lower()
    if machine not in MACHINES:
        raise BundleError(f"no models run on a {machine} machine; known: {', '.join(MACHINES)}")
    return MACHINES[machine]


def load_bundle(folder: Path) -> Bundle:
    """Read the manifest and prove every file it names. Raises BundleError that names the file and what to do."""
    folder = Path(os.path.realpath(folder))
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such folder; a bundle is a folder opt_models/NAME/VERSION")
    data = _read_inside(folder, MANIFEST_NAME, MAX_MANIFEST_BYTES)
    manifest = parse_manifest(data, str(folder / MANIFEST_NAME))
    bundle = Bundle(folder, manifest, hashlib.sha256(data).hexdigest())
    for entry in manifest.files():
        bundle.read(entry)
    return bundle


def _read_inside(folder: Path, name: str, limit_bytes: int) -> bytes:
    """A regular file's bytes, at most `limit_bytes` of them; no part of `name` below `folder` may be a link."""
    path = folder / name
    if os.path.realpath(path) != str(path):
        raise BundleError(f"{path}: lies behind a symbolic link; put the file itself into the bundle")
    if not path.is_file():
        problem = "is not a regular file" if path.exists() else "is missing"
        raise BundleError(f"{path}: {problem}; {ANSWER}")
    size_bytes = path.stat().st_size
    if size_bytes > limit_bytes:
        raise BundleError(f"{path}: size_bytes is {size_bytes}, allowed are at most {limit_bytes}; {ANSWER}")
    try:
        return path.read_bytes()
    except OSError as exc:
        raise BundleError(f"{path}: {exc.strerror}; give this user the right to read it, or {ANSWER}") from exc
