"""The report of a job for people: report.md, the same as report.html, and overlays of the pictures worth a look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import cv2

from edge_runtime.errors import CameraError
from edge_runtime.files import write_atomically
from edge_runtime.inference.bundle import Bundle
from edge_runtime.pictures import read_picture
from edge_runtime.values import Outcome, Recipe
from edge_runtime.vision.overlay import draw_overlay
from tools.markdown import as_html, code, escape, table
from tools.reinspection.comparison import Reinspected
from tools.reinspection.job import JobDescription
from tools.reinspection.outcome_tables import DEFECTS_NAME, PICTURES_NAME
from tools.reinspection.summary import LISTED_MAX, Summary
from tools.reinspection.tables import disk_errors

OVERLAYS_NAME = "overlays"
FOLDERS_SHOWN = 50


@dataclass(frozen=True)
class Overlay:
    """A drawn picture: `file` relative to the report."""

    one: Reinspected
    file: str


def write_report(
    folder: Path, description: JobDescription, bundle: Bundle, recipe: Recipe, pictures_folder: Path, summary: Summary
) -> None:
    """Write overlays, report.md and report.html into the job's folder. Raises StorageError."""
    with disk_errors(folder):
        overlays = list(_draw_overlays(folder, summary.remarkable, bundle, recipe, pictures_folder))
        names = {each.class_id: each.name for each in bundle.classes}
        text = report_text(description, summary, names, overlays)
        write_atomically(folder / "report.md", text.encode())
        write_atomically(folder / "report.html", as_html(f"Reinspection with {description.model_id}", text).encode())


def report_text(
    description: JobDescription, summary: Summary, class_names: dict[int, str], overlays: Sequence[Overlay]
) -> str:
    """Markdown; what comes from outside (paths, reasons, errors) is shown as it is, never as markup."""
    sections = [
        _head(description, summary),
        _section("Outcomes by folder", _folders(summary)),
        _section("Defects by class", _classes(summary, class_names)),
        _section("Changed verdicts", _changes(summary)),
        _section("Errors", _errors(summary)),
        _section("Slowest", _slowest(summary)),
        _section("Overlays", _overlays(overlays)),
    ]
    return "\n".join(section for section in sections if section)


def _head(description: JobDescription, summary: Summary) -> str:
    count = summary.pictures
    mean_ms = summary.inspect_ms / max(1, count - sum(summary.error_kinds.values()))
    rows = [
        ("archive", code(description.archive)),
        ("model", code(description.model_id)),
        ("recipe", code(str(description.recipe["name"]))),
        ("tiles", "the bundle's usual ones" if description.tile_px is None else f"{description.tile_px} px"),
        ("pictures", f"{count:,}"),
        *((outcome.value, _share(summary.outcomes[outcome.value], count)) for outcome in Outcome),
        ("verdicts changed", f"{summary.changed_count:,}" if summary.changes else "no records to compare with"),
        ("mean time a picture", f"{mean_ms:.0f} ms, {summary.tiles:,} tiles in all"),
        ("tables", f"`{PICTURES_NAME}`, `{DEFECTS_NAME}`"),
    ]
    return "# Reinspection\n\n" + "\n".join(table(("", ""), rows)) + "\n"


def _folders(summary: Summary) -> list[str]:
    """Those with the most rejects first."""
    ranked = sorted(summary.by_folder.items(), key=lambda item: (-item[1][Outcome.REJECT.value], item[0]))
    rows = [
        (code(name), *(f"{counts[outcome.value]:,}" for outcome in Outcome), f"{counts.total():,}")
        for name, counts in ranked[:FOLDERS_SHOWN]
    ]
    left_out = len(ranked) - len(rows)
    note = [f"\n{left_out:,} more folders are in `{PICTURES_NAME}`."] if left_out else []
    return table(("folder", *(outcome.value for outcome in Outcome), "all"), rows) + note


def _classes(summary: Summary, class_names: dict[int, str]) -> list[str]:
    rows = [(code(name), f"{summary.defects_by_class[class_id]:,}") for class_id, name in class_names.items()]
    return table(("class", "defects"), rows)


def _changes(summary: Summary) -> list[str]:
    if not summary.changes:
        return []
    rows = [(change, f"{count:,}") for change, count in summary.changes.most_common()]
    lines = table(("verdict", "parts"), rows)
    changed = [(_part_id(one), code(one.picture.path), *_then_and_now(one)) for one in summary.changed]
    if changed:
        lines += ["", f"The {len(changed)} with the most defects gone or new:", ""]
        lines += table(("part", "picture", "verdict", "then", "now", "gone", "new"), changed)
    return lines


def _then_and_now(one: Reinspected) -> tuple[str, ...]:
    record, change = one.picture.record, one.change
    assert record is not None
    assert change is not None
    reasons = (escape("; ".join(reasons)) for reasons in (record.reasons, one.result.reasons))
    return change.verdict, *reasons, str(change.defects_gone), str(change.defects_new)


def _errors(summary: Summary) -> list[str]:
    if not summary.error_kinds:
        return []
    total = sum(summary.error_kinds.values())
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in summary.error_kinds.most_common())
    rows = [(code(one.picture.path), escape(one.result.error or "")) for one in summary.errors]
    more = f" The first {LISTED_MAX}:" if total > LISTED_MAX else ""
    return [f"{total:,} pictures were not inspected: {kinds}.{more}", "", *table(("picture", "error"), rows)]


def _slowest(summary: Summary) -> list[str]:
    rows = [
        (code(one.picture.path), f"{one.result.ms:.0f}", str(one.result.tiles), _size(one)) for one in summary.slowest
    ]
    return table(("picture", "ms", "tiles", "px"), rows) if rows else []


def _overlays(overlays: Sequence[Overlay]) -> list[str]:
    lines = []
    for overlay in overlays:
        one = overlay.one
        verdict = one.change.verdict if one.change else one.result.outcome.value
        title = f"{escape(one.picture.path)}: {verdict}, {len(one.result.defects):,} defects"
        lines += [title, "", f"![overlay]({quote(overlay.file)})", ""]
    return lines


def _draw_overlays(
    folder: Path, chosen: Iterable[Reinspected], bundle: Bundle, recipe: Recipe, pictures_folder: Path
) -> Iterator[Overlay]:
    """Boxes on the picture; a picture that went away meanwhile has none."""
    (folder / OVERLAYS_NAME).mkdir(exist_ok=True)
    for stale in (folder / OVERLAYS_NAME).glob("[0-9]*.jpg"):
        stale.unlink()
    for number, one in enumerate(chosen, 1):
        try:
            image = read_picture(pictures_folder / one.picture.path)
        except CameraError:
            continue
        drawn = draw_overlay(image, one.result.defects, None, bundle.classes, recipe, one.result.outcome)
        file = f"{OVERLAYS_NAME}/{number:03d}.jpg"
        write_atomically(folder / file, cv2.imencode(".jpg", drawn)[1].tobytes())
        yield Overlay(one, file)


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"## {title}", "", *lines, ""]) if lines else ""


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({part / whole:.1%})" if whole else "0"


def _part_id(one: Reinspected) -> str:
    return str(one.picture.record.part_id) if one.picture.record else ""


def _size(one: Reinspected) -> str:
    return "x".join(map(str, one.result.image_hw[::-1])) if one.result.image_hw else ""
