import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.graph import BN_STATISTICS, check_weights
from tools.pruning.choice import Limits
from tools.pruning.cut import cut
from tools.pruning.groups import LAYERS, find_dependencies
from tools.pruning.plan import plan_macs, plan_ratios
from tools.pruning.scores import score_units

FREE = Limits(align=1, protect_head_input=False)
few = settings(max_examples=6, deadline=None)
seeds = st.integers(0, 2**31)


def random_plan(dependencies, seed, limits=FREE):
    """Any units of any class gone."""
    rng = np.random.default_rng(seed)
    names = dependencies.layer_names if limits is FREE else ["*"]
    ratios = {name: rng.uniform(0, 0.95) for name in names}
    return plan_ratios(dependencies, rng.uniform(1, 2, dependencies.unit_count), ratios, limits)


def gone(plan, tensor):
    return np.setdiff1d(np.arange(plan.graph.channels()[tensor]), plan.kept[tensor])


def unread(plan, weights):
    """The same weights, but no convolution reads a channel that goes."""
    masked = {name: values.copy() for name, values in weights.items()}
    for node in plan.graph:
        if node.op == "deconv":
            masked[f"{node.name}.weight"][gone(plan, node.inputs[0])] = 0
        elif node.op == "conv" and node.groups == 1:
            masked[f"{node.name}.weight"][:, gone(plan, node.inputs[0])] = 0
    return masked


def unmade(plan, weights):
    """The same weights, but everything that makes the channels that go is 0."""
    masked = {name: values.copy() for name, values in weights.items()}
    for name, values in masked.items():
        layer, _, part = name.rpartition(".")
        node = plan.graph[layer]
        if part not in BN_STATISTICS:
            axis = 1 if node.op == "deconv" and part == "weight" else 0
            np.moveaxis(values, axis, 0)[gone(plan, layer)] = 0
    return masked


def assert_equal_logits(found, wanted):
    assert np.abs(found - wanted).max() <= 1e-4 * max(1.0, np.abs(wanted).max())


@few
@given(seed=seeds)
def test_cutting_equals_not_reading_for_any_weights(dependencies, lively_weights, logits, seed):
    plan = random_plan(dependencies, seed)
    weights = lively_weights(dependencies.graph, seed)
    assert_equal_logits(logits(*cut(weights, plan)), logits(dependencies.graph, unread(plan, weights)))


@few
@given(seed=seeds)
def test_cutting_channels_that_are_zero_changes_nothing(dependencies, lively_weights, logits, seed):
    plan = random_plan(dependencies, seed)
    weights = unmade(plan, lively_weights(dependencies.graph, seed))
    assert_equal_logits(logits(*cut(weights, plan)), logits(dependencies.graph, weights))


@few
@given(seed=seeds)
def test_weights_fit_the_smaller_graph_and_keep_their_values(dependencies, lively_weights, seed):
    plan = random_plan(dependencies, seed)
    weights = lively_weights(dependencies.graph, seed)
    graph, smaller = cut(weights, plan)
    check_weights(graph, smaller)
    assert list(smaller) == list(weights)
    assert all(np.isin(smaller[name], weights[name]).all() for name in weights)


@few
@given(seed=seeds)
def test_widths_stay_multiples_of_eight_where_they_were(dependencies, seed):
    graph = dependencies.graph
    before, after = graph.channels(), random_plan(dependencies, seed, Limits()).smaller_graph().channels()
    made = [node.name for node in graph if node.op in LAYERS and before[node.name] % 8 == 0]
    assert all(after[name] % 8 == 0 and 8 <= after[name] <= before[name] for name in made)
    assert after[graph.output] == before[graph.output]


def test_groups_keep_their_width(dependencies):
    graph = dependencies.graph
    smaller = random_plan(dependencies, 1).smaller_graph()
    for node in graph:
        if node.groups > 1:
            assert smaller[node.name].channels // smaller[node.name].groups == node.channels // node.groups


def test_keeping_everything_is_the_identity(dependencies, lively_weights):
    weights = lively_weights(dependencies.graph, 1)
    scores = np.zeros(dependencies.unit_count)
    for plan in (plan_ratios(dependencies, scores, {"*": 0.0}, FREE), plan_macs(dependencies, scores, 1e15, FREE)):
        graph, same = cut(weights, plan)
        assert graph == dependencies.graph
        assert all(np.array_equal(same[name], values) for name, values in weights.items())


def test_cutting_leaves_what_it_was_given(dependencies, lively_weights):
    weights = lively_weights(dependencies.graph, 1)
    before = {name: values.copy() for name, values in weights.items()}
    _, smaller = cut(weights, random_plan(dependencies, 2))
    for values in smaller.values():
        values[...] = 7
    assert all(np.array_equal(weights[name], values) for name, values in before.items())


@pytest.mark.parametrize("share", [0.9, 0.5])
def test_a_pruned_network_can_be_pruned_again(networks, lively_weights, logits, share):
    graph = networks["regnety-fpn"]
    weights = lively_weights(graph, 3)
    for _ in range(2):
        dependencies = find_dependencies(graph)
        scores = score_units(dependencies, weights, "l1")
        graph, weights = cut(weights, plan_ratios(dependencies, scores, {"*": 1 - share}, FREE))
    check_weights(graph, weights)
    assert np.isfinite(logits(graph, weights)).all()
