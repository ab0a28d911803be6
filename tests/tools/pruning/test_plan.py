import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.errors import ToolError
from tools.graph import count_macs, count_parameters
from tools.pruning.choice import Limits
from tools.pruning.cut import Plan
from tools.pruning.groups import LAYERS, find_dependencies
from tools.pruning.plan import plan_macs, plan_milliseconds, plan_parameters, plan_ratios

few = settings(max_examples=8, deadline=None)
seeds = st.integers(0, 2**31)


def random_scores(dependencies, seed):
    return np.random.default_rng(seed).uniform(0, 2, dependencies.unit_count)


def widths(graph):
    return {node.name: node.channels for node in graph if node.op in LAYERS}


def macs(graph):
    return count_macs(graph, 512)


@pytest.fixture(scope="module")
def unet(networks):
    return find_dependencies(networks["unet-residual-deconv-add"])


def least(dependencies, scores, limits):
    """The least multiply-adds, as the refusal of an impossible target names it (rounded to six digits)."""
    with pytest.raises(ToolError, match="1 MACs cannot be reached: the least is ") as refused:
        plan_macs(dependencies, scores, 1, limits)
    return float(str(refused.value).split("the least is ")[1].split(";")[0].replace(",", ""))


@few
@given(seed=seeds, share=st.floats(0.0, 1.0))
def test_a_target_is_met_from_below(dependencies, seed, share):
    scores, limits = random_scores(dependencies, seed), Limits()
    low, high = least(dependencies, scores, limits), macs(dependencies.graph)
    target = low * 1.00001 + share * (high - low)
    assert low * 0.99999 <= macs(plan_macs(dependencies, scores, target, limits).smaller_graph()) <= target


@few
@given(seed=seeds)
def test_a_target_in_parameters_is_met_from_below(dependencies, seed):
    scores, target = random_scores(dependencies, seed), 0.9 * count_parameters(dependencies.graph)
    found = count_parameters(plan_parameters(dependencies, scores, target, Limits()).smaller_graph())
    assert 0 < found <= target


def test_the_least_named_is_reached(unet):
    scores = random_scores(unet, 1)
    found = least(unet, scores, Limits())
    graph = plan_macs(unet, scores, found * 1.00001, Limits()).smaller_graph()
    assert macs(graph) == pytest.approx(found, rel=1e-5)
    assert set(widths(graph).values()) == {8, 16, 3}


def widened(dependencies, plan, channel_class):
    """The plan with one more unit of a class."""
    present = set(dependencies.unit_of[channel_class.name][plan.kept[channel_class.name]].tolist())
    more = min(set(channel_class.units) - present)
    kept = {t: np.union1d(k, np.flatnonzero(dependencies.unit_of[t] == more)) for t, k in plan.kept.items()}
    return Plan(plan.graph, kept)


@few
@given(seed=seeds, share=st.floats(0.4, 0.99))
def test_one_unit_more_of_any_class_would_pass_the_target(unet, seed, share):
    target = share * macs(unet.graph)
    plan = plan_macs(unet, random_scores(unet, seed), target, Limits(align=1))
    smaller = plan.smaller_graph()
    narrowed = [c for c in unet.classes if smaller[c.name].channels < unet.graph[c.name].channels]
    assert narrowed
    assert all(macs(widened(unet, plan, c).smaller_graph()) > target for c in narrowed)


def test_low_scores_go_first_over_all_layers(unet):
    scores = np.ones(unet.unit_count)
    cheap = {c.name: c for c in unet.classes}["down2.conv"]
    scores[list(cheap.units[:16])] = 0.1
    plan = plan_parameters(unet, scores, 0.99 * count_parameters(unet.graph), Limits())
    before, after = widths(unet.graph), widths(plan.smaller_graph())
    changed = {name for name in before if before[name] != after[name]}
    assert changed == set(cheap.layers)
    assert not set(cheap.units[16:]) - set(unet.unit_of["down2.conv"][plan.kept["down2.conv"]].tolist())


def test_one_ratio_for_all_is_rounded_to_whole_steps(unet):
    graph = plan_ratios(unet, random_scores(unet, 1), {"*": 0.5}, Limits(protect_head_input=False)).smaller_graph()
    before, after = widths(unet.graph), widths(graph)
    nearest = {16: 8, 24: 16, 32: 16, 3: 3}
    assert after == {name: nearest[width] for name, width in before.items()}


def test_the_last_matching_pattern_holds(unet):
    ratios = {"*": 0.75, "down*": 0.25, "down2.*": 0.0}
    graph = plan_ratios(unet, random_scores(unet, 1), ratios, Limits()).smaller_graph()
    assert (graph["down1.conv"].channels, graph["down2.conv"].channels) == (16, 32)
    assert graph["level0.0.first.conv"].channels == 8


def test_within_a_class_the_best_units_stay(unet):
    scores = random_scores(unet, 3)
    plan = plan_ratios(unet, scores, {"down2.*": 0.5}, Limits())
    units = unet.unit_of["down2.conv"]
    stay = units[plan.kept["down2.conv"]]
    assert scores[stay].min() > scores[np.setdiff1d(units, stay)].max()


def test_spared_layers_and_the_heads_input_keep_their_width(unet):
    scores, limits = random_scores(unet, 1), Limits(spare=("down1.*", "level0.0.first.conv"))
    graph = plan_ratios(unet, scores, {"*": 0.9}, limits).smaller_graph()
    kept = {"down1.conv": 24, "level0.0.first.conv": 16, "merge0.conv": 16, "head": 3}
    assert {name: graph[name].channels for name in kept} == kept
    bold = plan_ratios(unet, scores, {"*": 0.9}, Limits(protect_head_input=False)).smaller_graph()
    assert bold["merge0.conv"].channels == 8


def test_at_most_a_share_of_a_class_goes(unet):
    graph = plan_ratios(unet, random_scores(unet, 1), {"*": 0.9}, Limits(max_share=0.25)).smaller_graph()
    assert graph["down2.conv"].channels == 24
    assert graph["down1.conv"].channels == 24


@pytest.mark.parametrize(
    ("ratios", "limits", "words"),
    [
        ({"*": 1.0}, Limits(), "ratio 1.0 of '[*]': must be at least 0 and below 1, where no channel is left"),
        ({"down1.conv": -0.1}, Limits(), "ratio -0.1 of 'down1.conv'"),
        ({"*": float("nan")}, Limits(), "ratio nan"),
        ({"dwon1.*": 0.5}, Limits(), r"matches 'dwon1\.\*'; there are stem\.conv, .*merge0\.conv"),
        ({"head": 0.5}, Limits(), "no layer that can be pruned matches 'head'"),
        ({"merge0.*": 0.5}, Limits(), "may lose nothing; they are spared, feed the head"),
        ({"*": 0.5}, Limits(spare=("nothing",)), "matches 'nothing'; there are stem"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_can(unet, ratios, limits, words):
    with pytest.raises(ToolError, match=words):
        plan_ratios(unet, random_scores(unet, 1), ratios, limits)


@pytest.mark.parametrize("wrong", [{"align": 0}, {"max_share": 1.5}, {"max_share": -0.1}])
def test_limits_are_checked_at_birth(wrong):
    with pytest.raises(ToolError, match=r"align .* max_share"):
        Limits(**wrong)


class Stopwatch:
    """Milliseconds as a straight line over the multiply-adds, and how often it was asked."""

    def __init__(self, whole_macs):
        self.calls, self._whole_macs = 0, whole_macs

    def __call__(self, graph):
        self.calls += 1
        return 5.0 + 95.0 * macs(graph) / self._whole_macs


@pytest.mark.parametrize("target_ms", [45.0, 60.0, 80.0, 99.0])
def test_milliseconds_are_met_from_below_in_few_measurements(unet, target_ms):
    watch = Stopwatch(macs(unet.graph))
    plan = plan_milliseconds(unet, random_scores(unet, 2), target_ms, Limits(align=1), watch)
    assert watch.calls <= 8
    assert 0.9 * target_ms <= watch(plan.smaller_graph()) <= target_ms


def test_milliseconds_that_all_or_nothing_reaches(unet):
    scores, watch = random_scores(unet, 2), Stopwatch(macs(unet.graph))
    assert plan_milliseconds(unet, scores, 100.0, Limits(), watch).smaller_graph() == unet.graph
    with pytest.raises(ToolError, match=r"5\.5 milliseconds cannot be reached: the least is "):
        plan_milliseconds(unet, scores, 5.5, Limits(), watch)
