"""A gate calibrated on labelled pictures, by the scripted segmenter: no defect lies below it, and it is told truly."""

import json
from datetime import datetime, timezone

import cv2
import numpy as np
import pytest

from edge_runtime.inference.bundle import load_bundle
from edge_runtime.inference.bundle_writer import NewArtefact, write_bundle
from edge_runtime.inference.golden import GoldenTile
from edge_runtime.inference.manifest import Draft
from edge_runtime.inference.proof import check_gate
from edge_runtime.values import Mask
from edge_runtime.vision.gate import TemplateGate
from tools.errors import ToolError
from tools.gating.calibrate import Wish, calibrate
from tools.gating.run import GateRequest, candidates, gate_bundle
from tools.gating.scores import DefectScore, GatedPicture
from tools.predictors import Predictor

SIDE_PX, GROUND = 120, 61
NAMES = {1: "open", 2: "short"}
WISH = Wish(miss_bound=0.2, confidence=0.95, margin=0.75, lost=0)
SPOTS_PX = (5, 8, 11)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Tiles of 64 px, four to a picture; the golden tile's defect strays by 40."""
    return write_model(tmp_path_factory.mktemp("bundles") / "compared" / "1", 40)


def write_model(folder, golden_stray, template=True):
    draft = Draft(
        name="compared",
        version="1",
        created=datetime(2026, 1, 31, tzinfo=timezone.utc),
        input={"channels": "GRAY", "mean": (0.5,), "std": (0.25,), "tile_px": 64, "stride_px": 4, "margin_px": 4}
        | {"template": template},
        output={"kind": "class_and_score", "mask_stride_px": 2},
        classes=[{"id": i, "name": n, "color_bgr": (0, 0, 255), "threshold": 128} for i, n in NAMES.items()],
        figures={"parameters": 0, "macs_per_tile": 0},
        terms="none: made up",
    )
    picture, cells = np.full((64, 64, 3), GROUND, np.uint8), np.zeros((32, 32), np.uint8)
    picture[20:40, 20:40], cells[10:20, 10:20] = GROUND + golden_stray, 1
    clean = np.full((64, 64), GROUND, np.uint8) if template else None
    golden = GoldenTile(picture, Mask(cells, cells * 255, 2), clean)
    artefact = NewArtefact("model.x86.bin", b"none", "x86", "fp32", "none")
    readme = f"# {draft.name}, version 1\n\nMade up.\n\n## Terms\nnone\n"
    return write_bundle(folder, draft, [artefact], [golden], readme)


def write_data(folder, spots, noise=0):
    """Pictures with square spots (class id, x, y, side) each, on a ground that strays by up to `noise`, and labels."""
    rng = np.random.default_rng(len(spots))
    for plane in ("image", "template"):
        (folder / plane).mkdir(parents=True)
    images, annotations = [], []
    for index, of_picture in enumerate(spots):
        picture = np.full((SIDE_PX, SIDE_PX), GROUND, np.uint8)
        cv2.imwrite(str(folder / "template" / f"{index:03d}.png"), picture)
        picture[:2, :2] += np.uint8(rng.integers(0, noise + 1))
        for class_id, x, y, side in of_picture:
            picture[y : y + side, x : x + side] = 100 + class_id
            annotations.append({"image_id": index, "category_id": class_id, "bbox": [x, y, side, side]})
        cv2.imwrite(str(folder / "image" / f"{index:03d}.png"), picture)
        names = {"file_name": f"image/{index:03d}.png", "template": f"template/{index:03d}.png"}
        images.append({"id": index, **names, "width": SIDE_PX, "height": SIDE_PX})
    categories = [{"id": class_id, "name": name} for class_id, name in NAMES.items()]
    labels = {"categories": categories, "images": images, "annotations": annotations}
    (folder / "annotations.json").write_text(json.dumps(labels))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """24 pictures with one spot each, in the first tile."""
    spots = [[(1 + n % 2, 10 + n, 12 + n, SPOTS_PX[n % 3])] for n in range(24)]
    return write_data(tmp_path_factory.mktemp("data") / "train", spots)


@pytest.fixture(scope="module")
def more_data(tmp_path_factory):
    """One clean picture, one with a spot in each of two tiles."""
    spots = [[], [(1, 20, 20, 8), (2, 90, 90, 8)]]
    return write_data(tmp_path_factory.mktemp("data") / "val", spots)


def request(bundle, data, out, report=(), wish=WISH, gates=None):
    gates = candidates((0, 1), (3, 4), (4,)) if gates is None else gates
    return GateRequest(bundle.folder, out, ("made up", data), tuple(report), gates, wish, 1, Predictor("scripted"))


def test_a_gate_is_calibrated_written_proved_and_reported(bundle, data, more_data, tmp_path):
    told = []
    wanted = request(bundle, data, tmp_path / "compared" / "2", [("val", more_data)])
    done = gate_bundle(wanted, lambda count, total: told.append((count, total)))
    assert told == [(n, 26) for n in range(1, 27)]
    made = load_bundle(tmp_path / "compared" / "2")
    check_gate(made)
    assert made.gate is not None
    assert (made.manifest.version, made.manifest.classes) == ("2", bundle.manifest.classes)
    assert made.gate.threshold == 0.75 * done.calibration.lowest_score
    calibration = made.manifest.gate.calibration
    assert (calibration.pictures, calibration.defects, calibration.lost) == (24, 24, 0)
    assert calibration.lost_share_max == pytest.approx(1 - 0.05 ** (1 / 24))
    assert (calibration.skipped_share, calibration.clean_skipped_share) == (0.75, 1.0)
    (report,) = done.reports
    effect = report.effect
    assert (effect.pictures, effect.tiles, effect.clean_tiles, effect.skipped) == (2, 8, 6, 6)
    assert (effect.defects, effect.lost, effect.lost_alone, report.verdicts_changed) == (2, 0, 0, 0)
    assert report.f_full == report.f_gated == 1.0
    text = (made.folder / "README.md").read_text()
    assert text.startswith("# compared, version 2\n")
    assert text.index("## Gate\n") < text.index("## Terms\n")


def test_a_gate_is_calibrated_again_in_its_place(bundle, data, tmp_path):
    first = gate_bundle(request(bundle, data, tmp_path / "compared" / "2")).bundle
    again = gate_bundle(request(first, data, tmp_path / "compared" / "3", wish=Wish(0.2, 0.95, 0.5, 0))).bundle
    text = (again.folder / "README.md").read_text()
    assert text.count("## Gate\n") == text.count("## Terms\n") == 1
    assert again.gate.threshold == pytest.approx(first.gate.threshold * 0.5 / 0.75)


def test_what_the_report_counts_as_lost_is_lost(bundle, data, tmp_path):
    """A threshold that sets the fainter half aside: those defects are skipped, and F and verdicts say so."""
    wish = Wish(miss_bound=0.9, confidence=0.95, margin=1.0, lost=16)
    gates = (TemplateGate(0, 14, 4, 0.0),)  # a mean over 14 px tells the spots' sizes apart
    done = gate_bundle(request(bundle, data, tmp_path / "compared" / "2", [("again", data)], wish, gates))
    (report,) = done.reports
    assert report.effect.lost == report.effect.lost_alone == done.gate.calibration.lost == 16
    assert report.verdicts_changed == 16
    assert report.f_full == 1.0
    assert report.f_gated == pytest.approx(2 * 8 / (24 + 8))


def test_too_little_data_is_refused_before_anything_is_written(bundle, data, tmp_path):
    wanted = request(bundle, data, tmp_path / "compared" / "2", wish=Wish(0.001, 0.95, 0.75, 0))
    with pytest.raises(ToolError, match=r"24 defects.*that takes 2995"):
        gate_bundle(wanted)
    assert not (tmp_path / "compared").exists()


def test_a_version_that_exists_and_a_model_without_template_are_refused_at_once(bundle, data, tmp_path):
    with pytest.raises(ToolError, match="this version exists"):
        gate_bundle(request(bundle, data, bundle.folder))
    blind = write_model(tmp_path / "blind" / "1", 40, template=False)
    with pytest.raises(ToolError, match="takes no template"):
        gate_bundle(request(blind, data, tmp_path / "blind" / "2"))


def test_defects_that_look_like_the_template_to_every_gate_are_named():
    seen, unseen = (DefectScore((4, 4, 9, 9), 0, scores) for scores in ((40.0, 9.0), (0.0, 0.0)))
    pictures = [
        GatedPicture(name, (one,), ((0.0,),) * 2, (False,), 0.1, 9.0) for name, one in (("a", seen), ("b", unseen))
    ]
    gates = candidates((0, 1), (4,), (4,))
    with pytest.raises(ToolError, match=r"1 defects look like the template.*b at \(4, 4, 9, 9\); correct the labels"):
        calibrate(pictures, gates, Wish(0.9, 0.95, 0.75, 0), "made up")
    gate, best = calibrate(pictures, gates, Wish(0.99, 0.95, 0.75, 1), "made up")
    assert (gate.threshold, best, gate.calibration.lost) == (30.0, 0, 1)


def test_candidates_out_of_range_are_refused():
    assert len(candidates((0, 1), (3, 4, 6), (4, 8))) == 12
    with pytest.raises(ToolError, match="--tolerance"):
        candidates((9,), (4,), (4,))
