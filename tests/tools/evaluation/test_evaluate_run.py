import csv
import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from tools.__main__ import build_app
from tools.errors import DatasetError, ToolError
from tools.evaluation.data import labelled_for
from tools.evaluation.run import evaluate_bundle
from tools.evaluation.values import Request
from tools.predictors import Predictor

OPEN, SHORT = 1, 2
PICTURES = {
    "caught": ([(OPEN, 20, 20, 40, 40), (SHORT, 80, 80, 100, 100)], [(OPEN, 20, 20, 40, 40), (OPEN, 80, 80, 100, 100)]),
    "clean": ([], []),
    "false": ([(OPEN, 60, 60, 80, 80)], []),
    "missed": ([], [(SHORT, 60, 60, 80, 80)]),
}


@pytest.fixture(scope="module")
def request_for(shipped_folder, tmp_path_factory):
    def make(data, **changes):
        wanted = {"workers": 1, "allow_absent": True, "predictor": Predictor("scripted"), **changes}
        return Request(shipped_folder, data, tmp_path_factory.mktemp("evaluation") / "out", **wanted)

    return make


@pytest.fixture(scope="module")
def done(request_for, make_data):
    seen = []
    result = evaluate_bundle(request_for(make_data(PICTURES)), lambda done, total: seen.append((done, total)))
    assert seen == [(n, 4) for n in (1, 2, 3, 4)]
    return result


def test_figures_on_pictures_whose_answers_are_known(done):
    boxes, cells, verdicts = done.figures.boxes, done.figures.cells, done.figures.verdicts
    assert (boxes["all"].labelled, boxes["all"].found, boxes["all"].right) == (3, 3, 1)
    assert (boxes["open"].precision, boxes["open"].recall) == (0.5, 0.5)
    assert (verdicts.caught, verdicts.missed, verdicts.passed, verdicts.false_alarms) == (1, 1, 1, 1)
    assert verdicts.right_share == 0.5
    assert (cells["open"].right, cells["open"].found, cells["open"].labelled) == (100, 200, 200)
    assert cells["all"].iou == pytest.approx(200 / 400)
    assert cells["short"].iou == 0.0


def test_everything_is_on_disk_and_says_the_same(done):
    figures = json.loads((done.folder / "figures.json").read_text())
    assert figures["boxes"]["open"]["f_score"] == 0.5
    assert figures["boxes"]["spur"]["recall"] is None
    assert figures["absent_classes"] == ["mousebite", "spur", "copper", "pin-hole"]
    wrong = [one["picture"] for one in figures["by_picture"] if not one["verdict_right"]]
    assert wrong == ["false", "missed"]
    rows = list(csv.DictReader((done.folder / "candidates.csv").read_text().splitlines()))
    assert [(row["picture"], row["class"], row["right"]) for row in rows] == [
        ("caught", "open", "1"),
        ("caught", "short", "0"),
        ("false", "open", "0"),
    ]
    text = (done.folder / "report.md").read_text()
    assert "| defective | 1 | 1 |" in text
    assert "Defective parts that pass: missed\n" in text
    assert "Clean parts that are rejected: false\n" in text
    assert "overlays/003.png" in (done.folder / "report.html").read_text()
    assert sorted(file.name for file in (done.folder / "overlays").iterdir()) == ["001.png", "002.png", "003.png"]
    assert (done.folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_data_without_clean_parts_say_nothing_of_good_ones(request_for, make_data):
    done = evaluate_bundle(request_for(make_data({"caught": PICTURES["caught"]}), overlays=0))
    assert "No part is clean by its labels" in (done.folder / "report.md").read_text()
    assert list((done.folder / "overlays").iterdir()) == []


def test_thresholds_are_tried_without_computing_masks_again(request_for, make_data):
    done = evaluate_bundle(request_for(make_data(PICTURES), choose_thresholds=True))
    assert [known.name for known in done.thresholds.chosen] == [known.name for known in done.bundle.classes]
    assert done.thresholds.scores["all"].right == done.figures.boxes["all"].right
    assert (done.folder / "thresholds.csv").read_text().startswith("class,threshold,")


def test_a_predictor_that_aborts_is_an_error(request_for, make_data):
    data = make_data({"bad": ([(142, 0, 0, 9, 9)], [])})
    with pytest.raises(ToolError, match=r"died or hung at one of: .*bad\.png"):
        evaluate_bundle(request_for(data))


def test_a_class_without_example_is_said_before_anything_is_computed(request_for, make_data):
    with pytest.raises(DatasetError, match="no example of mousebite, spur, copper, pin-hole; add"):
        evaluate_bundle(request_for(make_data(PICTURES), allow_absent=False))


def test_labels_of_other_classes_are_refused(request_for, make_data):
    with pytest.raises(DatasetError, match="take a data set of the same classes"):
        evaluate_bundle(request_for(make_data(PICTURES, names={1: "open", 2: "scratch"})))


def test_a_wrong_mask_is_said_with_its_name(request_for, make_data):
    data = make_data({"one": ([], [(77, 5, 5, 9, 9)])})
    with pytest.raises(DatasetError, match=r"one\.png: value 77 in the mask"):
        evaluate_bundle(request_for(data))


def test_an_empty_folder_and_an_out_that_is_a_file(request_for, make_data, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no annotations\.json"):
        evaluate_bundle(request_for(tmp_path / "empty"))
    request = request_for(make_data(PICTURES))
    request.out.touch()
    with pytest.raises(ToolError, match="choose another --out"):
        evaluate_bundle(request)


def test_labels_count_by_the_names_of_their_classes(shipped, make_data):
    names = {known.class_id: known.name for known in shipped.classes}
    numbered_otherwise = {7 - number: name for number, name in names.items()}
    data = make_data({"one": ([], [(6, 5, 5, 9, 9)])}, names=numbered_otherwise)
    (picture,) = labelled_for(data, shipped, allow_absent=True).pictures
    assert {box.class_id for box in picture.boxes} == {1}
    assert set(picture.read_mask().ravel().tolist()) == {0, 1}


def test_a_bundle_that_changed_meanwhile_is_refused(shipped):
    from edge_runtime.errors import BundleError
    from tools.evaluation.examine import ModelSpec, opened

    with pytest.raises(BundleError, match="changed while"):
        opened(replace(ModelSpec(shipped.folder, "0" * 64), predictor=Predictor("scripted")))


def test_the_command_measures_a_real_network(shipped_folder, painted_board, tmp_path):
    arguments = ["--data", str(painted_board), "--out", str(tmp_path), "--choose-thresholds", "--allow-absent"]
    run = CliRunner().invoke(build_app("evaluate"), ["evaluate", str(shipped_folder), *arguments, "--workers", "1"])
    assert run.exit_code == 0, run.output
    assert "best thresholds" in run.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["boxes"]["all"]["right"] > 0
    assert figures["chosen_thresholds"]["all"]["f_score"] >= figures["boxes"]["all"]["f_score"]
