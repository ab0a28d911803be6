"""Bundles: a model's folder, read and verified before anything trusts it, and written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from edge_runtime.errors import BundleError
from edge_runtime.files import sync_folder, temporary_sibling, write_atomically
from edge_runtime.inference.golden import (
    SCORE_TOLERANCE,
    GoldenTile,
    TileReport,
    compare,
    decode_png,
    encode_png,
    is_defective,
)
from edge_runtime.inference.manifest import (
    RKNN_TARGETS,
    Artefact,
    Draft,
    FileEntry,
    Golden,
    Manifest,
    Precision,
    Target,
    model_id_of,
    parse_manifest,
)
from edge_runtime.inference.nb_file import check_nb, read_nb_header
from edge_runtime.inference.onnx_file import check_onnx
from edge_runtime.inference.rknn_file import read_rknn
from edge_runtime.interfaces import Segmenter
from edge_runtime.validation import describe
from edge_runtime.values import DefectClass, InputContract, Mask
from edge_runtime.vision.gate import TemplateGate
from edge_runtime.vision.preprocess import cut_tile

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


@dataclass(frozen=True)
class VerifyReport:
    """A bundle that passed, tile by tile."""

    model_id: str
    tiles: tuple[TileReport, ...]


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


def verify_bundle(
    folder: Path,
    open_segmenter: Callable[[Bundle], Segmenter],
    allowed_share: Callable[[Bundle], float] = lambda bundle: 0.0,
    sized: Callable[[Bundle], Sequence[Bundle]] = lambda bundle: [bundle],
) -> VerifyReport:
    """Load a bundle, check its networks' heads and run its golden tiles on this machine. Raises BundleError.

    `sized`: the same bundle with the sides of tiles to be proved. Runs the predictor in this process: call it in a
    child.
    """
    bundle = load_bundle(folder)
    for artefact in bundle.manifest.artefacts:
        where = str(bundle.folder / artefact.file)
        _check_network(artefact.file, bundle.read(artefact), artefact.target, artefact.opset, where)
    check_gate(bundle)
    tiles: list[TileReport] = []
    for one in sized(bundle):
        segmenter = open_segmenter(one)
        try:
            tiles += check_golden(one, segmenter, allowed_share(one))
        finally:
            segmenter.close()
    return VerifyReport(bundle.model_id, tuple(tiles))


def check_golden(bundle: Bundle, segmenter: Segmenter, allowed_share: float = 0.0) -> tuple[TileReport, ...]:
    """Run the golden tiles: a device does so before it trusts a model.

    A tile passes when every defect cell has the golden class and every score lies within 2 of 255 of the golden
    one, in all cells but `allowed_share` of them: what the manifest allows coarser arithmetic. Raises BundleError
    otherwise.
    """
    tiles = run_golden(bundle, segmenter, allowed_share)
    failed = [str(tile) for tile in tiles if not tile.passed]
    if failed:
        raise BundleError(
            f"{bundle.folder}: {len(failed)} of {len(tiles)} golden tiles came out differently: {'; '.join(failed)}; "
            f"allowed are equal classes and scores within {SCORE_TOLERANCE} in all cells but {allowed_share:.3%}; do "
            "not use this model in this way on this machine"
        )
    return tiles


def check_gate(bundle: Bundle) -> None:
    """Prove the bundle's gate on the golden tiles: none that holds a defect may be called clean, and one must hold one.

    Nothing to prove without a gate. Raises BundleError.
    """
    rule = bundle.gate
    if rule is None:
        return
    proved = 0
    for entry in bundle.manifest.golden:
        golden = bundle.read_golden(entry)
        if golden.template is None or not is_defective(golden.mask, bundle.classes):
            continue
        side_px = bundle.manifest.golden_side_px(entry)
        score = rule.score(golden.picture, golden.template, (0, 0, side_px, side_px))
        if score < rule.threshold:
            raise BundleError(
                f"{bundle.folder / entry.picture.file}: the gate calls it clean (score {score:.1f}, threshold "
                f'{rule.threshold:.1f}), and it holds a defect; set inspection.gate = "off", or calibrate the gate anew'
            )
        proved += 1
    if not proved:
        raise BundleError(
            f'{bundle.folder}: no golden tile holds a defect, so nothing proves the gate; set inspection.gate = "off", '
            "or pack a version with golden tiles that show defects"
        )


def run_golden(bundle: Bundle, segmenter: Segmenter, allowed_share: float = 0.0) -> tuple[TileReport, ...]:
    """How each golden tile for the side in use comes out. Raises BundleError for a mask of another size."""
    entries = bundle.manifest.golden_for(bundle.input_contract.tile_px)
    return tuple(_run_golden(bundle, segmenter, entry, allowed_share) for entry in entries)


def write_bundle(
    folder: Path, draft: Draft, artefacts: Sequence[NewArtefact], golden: Sequence[GoldenTile], readme: str = ""
) -> Bundle:
    """Write a new bundle, whole or not at all, and load it again. Raises BundleError; never overwrites a version."""
    if folder.exists():
        raise BundleError(f"{folder}: this version exists and a version never changes; choose the next one")
    for artefact in artefacts:
        _check_network(artefact.file, artefact.data, artefact.target, artefact.opset, artefact.file)
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


def _check_network(file: str, data: bytes, target: str, opset: int | None, where: str) -> None:
    if file.endswith(".nb"):
        check_nb(read_nb_header(data, where), target, where)
    elif opset is not None:
        check_onnx(data, opset, where)
    elif target in RKNN_TARGETS:
        read_rknn(data, where)


def _run_golden(bundle: Bundle, segmenter: Segmenter, entry: Golden, allowed_share: float) -> TileReport:
    """Of a golden tile that is larger than the tiles in use, what lies a margin inside the cut is compared."""
    golden, contract = bundle.read_golden(entry), bundle.input_contract
    picture = cut_tile(golden.picture, (0, 0), contract.tile_px)
    template = None if golden.template is None else cut_tile(golden.template, (0, 0), contract.tile_px)
    class_ids, scores = segmenter.predict(picture, template)
    cells = contract.tile_px // bundle.mask_stride_px
    if class_ids.shape != (cells, cells) or scores.shape != (cells, cells):
        raise BundleError(
            f"{bundle.folder / entry.picture.file}: the model answers {class_ids.shape} and {scores.shape}, "
            f"the golden mask is {(cells, cells)}; the artefact does not belong to this manifest"
        )
    if golden.picture.shape[0] > contract.tile_px:
        cells = (contract.tile_px - contract.margin_px) // bundle.mask_stride_px
    answer, wanted = (
        Mask(ids[:cells, :cells], its_scores[:cells, :cells], bundle.mask_stride_px)
        for ids, its_scores in ((class_ids, scores), (golden.mask.class_ids, golden.mask.scores))
    )
    return compare(entry.picture.file, answer, wanted, bundle.classes, allowed_share)


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
