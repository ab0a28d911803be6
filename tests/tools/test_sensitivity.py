from dataclasses import replace

import numpy as np
import pytest

from tools.architectures.unet import UnetSettings, build_unet
from tools.errors import ToolError
from tools.graph import check_weights, count_macs, count_parameters, initial_weights
from tools.sensitivity import WHOLE, Study, measure_sensitivity, read_trials

GRAPH = build_unet(UnetSettings(widths=(16, 32), depths=(0, 1)), 1, 3)
CLASSES = ["stem.conv", "down1.conv", "level1.0.first.conv", "merge0.conv"]


@pytest.fixture(scope="module")
def study():
    return Study(GRAPH, initial_weights(GRAPH, 1), "l1", (0.5, 0.25))


class Judge:
    """Quality is the share of parameters that is left; raises on call number `fails_at`."""

    def __init__(self, fails_at=None):
        self.seen, self._fails_at = [], fails_at

    def __call__(self, graph, weights):
        check_weights(graph, weights)
        if len(self.seen) == self._fails_at:
            raise KeyboardInterrupt
        self.seen.append(graph)
        return count_parameters(graph) / count_parameters(GRAPH)


def test_each_class_alone_is_pruned_by_each_ratio(study, tmp_path):
    judge, shown = Judge(), []
    trials = measure_sensitivity(study, judge, tmp_path / "t.csv", lambda *progress: shown.append(progress))
    assert [(t.channel_class, t.ratio) for t in trials] == [
        (WHOLE, 0.0), *((name, ratio) for name in CLASSES for ratio in (0.25, 0.5))
    ]  # fmt: skip
    assert [(t.channels, t.kept) for t in trials if t.channel_class == "down1.conv"] == [(32, 24), (32, 16)]
    assert trials[0].quality == 1.0
    assert trials[0].macs == count_macs(GRAPH, 512)
    assert all(t.quality == t.parameters / trials[0].parameters for t in trials)
    assert shown == [(i, 9) for i in range(1, 10)]


def test_ratios_that_leave_equally_many_channels_are_judged_once(study, tmp_path):
    judge = Judge()
    trials = measure_sensitivity(study, judge, tmp_path / "t.csv")
    kept = {(t.channel_class, t.kept) for t in trials}
    assert ("stem.conv", 16) in kept
    assert len(judge.seen) == len(kept) < len(trials) + 1


def test_a_stopped_study_goes_on_where_it_stopped(study, tmp_path):
    whole = measure_sensitivity(study, Judge(), tmp_path / "whole.csv")
    first, table = Judge(fails_at=3), tmp_path / "cut.csv"
    with pytest.raises(KeyboardInterrupt):
        measure_sensitivity(study, first, table)
    second = Judge()
    assert measure_sensitivity(study, second, table) == whole
    assert len(first.seen) == 3
    assert len(first.seen) + len(second.seen) == len({(t.channel_class, t.kept) for t in whole})
    assert table.read_text() == (tmp_path / "whole.csv").read_text()
    third = Judge()
    measure_sensitivity(study, third, table)
    assert third.seen == []


def test_a_table_of_another_network_is_not_continued(study, tmp_path):
    measure_sensitivity(study, Judge(), tmp_path / "t.csv")
    other_weights = {name: values + np.float32(1) for name, values in study.weights.items()}
    for change in ({"weights": other_weights}, {"method": "bn"}, {"align": 4}, {"judged_on": "other pictures"}):
        with pytest.raises(ToolError, match=r"t\.csv: trials of another network"):
            measure_sensitivity(replace(study, **change), Judge(), tmp_path / "t.csv")


def test_ratios_may_be_added_to_a_table(study, tmp_path):
    before = measure_sensitivity(study, Judge(), tmp_path / "t.csv")
    more = measure_sensitivity(replace(study, ratios=(0.25, 0.5, 0.75)), Judge(), tmp_path / "t.csv")
    assert set(before) < set(more)
    assert len(more) == len(before) + len(CLASSES)


@pytest.mark.parametrize("text", ["study,ratio\na,b\n", "no table", "\0"])
def test_a_damaged_table_is_named(study, tmp_path, text):
    (tmp_path / "t.csv").write_text(text + "\nx,y,z\n")
    with pytest.raises(ToolError, match=r"t\.csv: no table of trials"):
        read_trials(tmp_path / "t.csv", study.key)


@pytest.mark.parametrize("ratios", [(), (0.0,), (0.5, 1.0), (-0.5,), (float("nan"),)])
def test_ratios_that_prune_nothing_or_all_are_refused(ratios):
    with pytest.raises(ToolError, match="above 0 and below 1"):
        Study(GRAPH, {}, "l1", ratios)


def test_an_unknown_method_is_refused_before_anything_is_judged():
    with pytest.raises(ToolError, match="'magic'; allowed: l1, fpgm, bn"):
        Study(GRAPH, {}, "magic", (0.5,))
