"""A new version of a bundle with a gate, everything else as it was."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edge_runtime.inference.bundle import Bundle
from edge_runtime.inference.bundle_writer import write_bundle
from edge_runtime.inference.manifest import Draft, Gate
from edge_runtime.inference.proof import check_gate
from tools.artefacts import kept_artefacts

README, HEADING, TERMS = "README.md", "## Gate\n", "## Terms\n"


def write_gated(old: Bundle, out: Path, gate: Gate) -> Bundle:
    """Write `out`, whose last part is the version, after the golden tiles have proved the gate. Raises BundleError."""
    values = old.manifest.model_dump(exclude={"artefacts", "golden", "signature"})
    draft = Draft(**{**values, "version": out.name, "gate": gate})
    golden = [old.read_golden(entry) for entry in old.manifest.golden]
    artefacts = kept_artefacts(old)
    with tempfile.TemporaryDirectory(prefix="gate-") as scratch:
        check_gate(write_bundle(Path(scratch) / draft.name / draft.version, draft, artefacts, golden))
    return write_bundle(out, draft, artefacts, golden, _readme(old, draft, gate))


def gate_text(gate: Gate) -> str:
    """What the bundle's README says of its gate."""
    told = gate.calibration
    return (
        f"{HEADING}Tiles whose picture strays by less than {gate.threshold:g} grey levels from the template are "
        f"skipped (tolerance {gate.tolerance_px} px, block {gate.block_px} px, reach {gate.reach_px} px). Calibrated "
        f"on {told.data_set}, {told.pictures} pictures: {told.lost} of {told.defects} defects lie below; with "
        f"confidence {told.confidence:g} at most {told.lost_share_max:.3%} of such defects are missed. Of the tiles "
        f"there {told.skipped_share:.1%} are skipped, of those without a defect {told.clean_skipped_share:.1%}."
    )


def _readme(old: Bundle, draft: Draft, gate: Gate) -> str:
    """The old text under the new version, with what the gate does before the terms."""
    path = old.folder / README
    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8")
    title = f"# {draft.name}, version "
    text = text.replace(f"{title}{old.manifest.version}\n", f"{title}{draft.version}\n", 1)
    begin = text.find(HEADING)
    if begin >= 0:
        end = text.find("\n## ", begin + 1)
        text = text[:begin] + ("" if end < 0 else text[end + 1 :])
    before, terms, after = text.partition(TERMS)
    return (
        f"{before.rstrip()}\n\n{gate_text(gate)}\n\n{terms}{after}"
        if terms
        else f"{text.rstrip()}\n\n{gate_text(gate)}\n"
    )
