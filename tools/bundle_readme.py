"""The README of a bundle: its manifest's figures for human readers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edge_runtime.inference.bundle_writer import NewArtefact
from edge_runtime.inference.manifest import Draft
from tools.markdown import table


def bundle_readme(draft: Draft, notes: str = "", artefacts: Sequence[NewArtefact] = (), changed: str = "") -> str:
    """Markdown text; all but `notes`, and what `changed` since the last version, comes from the manifest."""
    figures, contract = draft.figures, draft.input
    kinds = "one kind" if len(draft.classes) == 1 else f"{len(draft.classes)} kinds"
    with_template = " with the defect-free picture" if contract.template else ""
    sides = f"{contract.tile_px} x {contract.tile_px} px{_sides(draft, artefacts)}"
    sections = [
        f"# {draft.name}, version {draft.version}",
        *([changed] if changed else []),
        f"Segments {kinds} of defects on tiles of {sides}, "
        f"{contract.channels} input{with_template}, one answer for each {draft.output.mask_stride_px} x "
        f"{draft.output.mask_stride_px} px. Made {draft.created:%Y-%m-%d} by `python -m tools pack`; this text "
        "repeats `manifest.json`.",
        f"{figures.parameters:,} parameters, {figures.macs_per_tile / 1e9:.2f} G multiply-adds a tile, margin "
        f"{contract.margin_px} px.",
        _table("## Classes", ("id", "class", "threshold of 255"), map(_class_row, draft.classes)),
        *(_measures(f"## {p.subject} against {p.reference}, {p.tiles} tiles", p.values) for p in figures.parity),
        *(_measures(f"## Accuracy on {a.data_set}, {a.pictures} pictures", a.values) for a in figures.accuracy),
        *(_measures(f"## Time on {t.machine}, {t.threads} thread", t.values) for t in figures.timing),
        *([notes] if notes else []),
        f"## Terms\n{draft.terms}",
    ]
    return "\n\n".join(sections) + "\n"


def kept_notes(readme: str) -> str:
    """The notes of an earlier version's text: what stands between its figures and the terms."""
    _, _, after = readme.partition("\n## Time on ")
    _, _, notes = after.partition("\n\n")
    return notes.rpartition("\n\n## Terms\n")[0]


def _sides(draft: Draft, artefacts: Sequence[NewArtefact]) -> str:
    ranges = {one.tile_range_px for one in artefacts} - {None}
    steps = f" in steps of {draft.input.stride_px}"
    return "".join(f", or of any side from {first} to {last} px{steps}" for first, last in sorted(filter(None, ranges)))


def _class_row(entry: object) -> tuple[str, ...]:
    return tuple(str(getattr(entry, name)) for name in ("id", "name", "threshold"))


def _measures(title: str, values: dict[str, float]) -> str:
    return _table(title, ("measure", "value"), ((name, f"{value:g}") for name, value in values.items()))


def _table(title: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join([title, *table(head, rows)])
