"""New bundles, written whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from edge_runtime.errors import BundleError
from edge_runtime.files import sync_folder, temporary_sibling, write_atomically
from edge_runtime.inference.bundle import MANIFEST_NAME, Bundle, load_bundle
from edge_runtime.inference.golden import GoldenTile, encode_png
from edge_runtime.inference.manifest import Draft, Manifest, Precision
from edge_runtime.inference.proof import check_network
from edge_runtime.inference.targets import Target
from edge_runtime.validation import describe


@dataclass(frozen=True)
class NewArtefact:
    """A compiled network to pack: its name in the bundle, its bytes and what the manifest says of it."""

    file: str
    data: bytes
    target: Target
    precision: Precision
    opt_version: str | None = None
    opset: int | None = None
    allowed_shares: Mapping[str, float] = field(default_factory=dict)
    tile_range_px: tuple[int, int] | None = None
    rknn_version: str | None = None


def write_bundle(
    folder: Path, draft: Draft, artefacts: Sequence[NewArtefact], golden: Sequence[GoldenTile], readme: str = ""
) -> Bundle:
    """Write a new bundle, whole or not at all, and load it again. Raises BundleError; never overwrites a version."""
    if folder.exists():
        raise BundleError(f"{folder}: this version exists and a version never changes; choose the next one")
    for artefact in artefacts:
        check_network(artefact.file, artefact.data, artefact.target, artefact.opset, artefact.file)
    files, manifest = _lay_out(folder, draft, artefacts, golden, readme)
    temporary = temporary_sibling(folder)
    try:
        _write_files(temporary, {**files, MANIFEST_NAME: manifest.to_json()})
        written = load_bundle(temporary)
        for entry in manifest.golden:
            written.read_golden(entry)
        temporary.rename(folder)
        sync_folder(folder.parent)
    except OSError as exc:
        raise BundleError(f"{folder}: cannot be written: {exc.strerror}; check the disk and the rights") from exc
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return load_bundle(folder)


def _lay_out(
    folder: Path, draft: Draft, artefacts: Sequence[NewArtefact], golden: Sequence[GoldenTile], readme: str
) -> tuple[dict[str, bytes], Manifest]:
    """Every file's bytes by its name in the bundle, and the manifest that lists them."""
    files = {"README.md": readme.encode()} if readme else {}
    files.update((artefact.file, artefact.data) for artefact in artefacts)
    entries = [_artefact_entry(artefact, draft.input.tile_px) for artefact in artefacts]
    tiles: list[dict[str, object]] = []
    for index, tile in enumerate(golden):
        planes = {"picture": tile.picture, "class_ids": tile.mask.class_ids, "scores": tile.mask.scores}
        planes |= {"template": tile.template} if tile.template is not None else {}
        pictures = {key: (f"golden/{index}_{key}.png", encode_png(plane)) for key, plane in planes.items()}
        files.update(pictures.values())
        side_px = tile.picture.shape[0]
        sized = {} if side_px == draft.input.tile_px else {"tile_px": side_px}
        tiles.append({**{key: _file_entry(*named) for key, named in pictures.items()}, **sized})
    try:
        return files, Manifest.model_validate({**draft.model_dump(), "artefacts": entries, "golden": tiles})
    except ValidationError as exc:
        raise BundleError(f"{folder / MANIFEST_NAME}: {describe(exc)}") from exc


def _artefact_entry(new: NewArtefact, tile_px: int) -> dict[str, object]:
    described = {"target": new.target, "precision": new.precision}
    sides = {"tile_px": tile_px, "tile_range_px": new.tile_range_px}
    maker = {"opt_version": new.opt_version, "opset": new.opset, "rknn_version": new.rknn_version}
    return {
        **_file_entry(new.file, new.data),
        **described,
        **sides,
        **maker,
        "allowed_shares": dict(new.allowed_shares),
    }


def _file_entry(name: str, data: bytes) -> dict[str, object]:
    return {"file": name, "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}


def _write_files(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
