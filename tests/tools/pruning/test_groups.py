import numpy as np
import pytest

from tools.architectures.layers import GraphBuilder
from tools.graph import INPUT, Graph, Node
from tools.pruning.groups import Slice, find_dependencies, weight_axes


def dependencies_of(build, input_channels=3):
    """`build` adds nodes and returns the one that the head reads."""
    builder = GraphBuilder(input_channels)
    return find_dependencies(builder.graph(builder.head(build(builder), 2)))


def classes(dependencies):
    """(name, units, channels of a unit by layer) of each class."""
    return [(c.name, len(c.units), dict(c.layers)) for c in dependencies.classes]


def test_a_chain_has_one_class_a_layer_and_neither_input_nor_output():
    found = dependencies_of(lambda b: b.conv_bn_relu("b", b.conv_bn_relu("a", INPUT, 8), 16))
    assert classes(found) == [("a.conv", 8, {"a.conv": 1}), ("b.conv", 16, {"b.conv": 1})]
    assert [c.feeds_output for c in found.classes] == [False, True]
    assert found.layer_names == ("a.conv", "b.conv")


def test_a_unit_owns_what_makes_its_channel_and_what_reads_it():
    found = dependencies_of(lambda b: b.conv_bn_relu("b", b.conv_bn_relu("a", INPUT, 8), 16))
    parts = ("offset", "mean", "variance")
    expected = {Slice("a.conv.weight", 0, (5,)), Slice("a.bn.scale", 0, (5,)), Slice("b.conv.weight", 1, (5,))}
    assert set(found.slices(found.classes[0].units[5])) == expected | {Slice(f"a.bn.{p}", 0, (5,)) for p in parts}


def test_a_sum_ties_and_a_concatenation_does_not():
    def build(b):
        a = b.conv_bn_relu("a", INPUT, 8)
        residual = b.residual("r", a)
        return b.add(Node("both", "concat", (residual, b.conv_bn("c", residual, 16))))

    found = dependencies_of(build)
    assert classes(found) == [
        ("a.conv", 8, {"a.conv": 1, "r.second.conv": 1}),
        ("r.first.conv", 8, {"r.first.conv": 1}),
        ("c.conv", 16, {"c.conv": 1}),
    ]
    both = found.unit_of["both"]
    assert both.tolist() == [*found.unit_of["a.conv"], *found.unit_of["c.conv"]]


def test_a_depthwise_layer_ties_channel_by_channel_and_a_group_as_a_whole():
    def build(b):
        a = b.conv_bn_relu("a", INPUT, 24)
        deep = b.conv_bn_relu("deep", a, 24, groups=24)
        return b.conv_bn_relu("c", b.conv_bn_relu("grouped", b.conv_bn_relu("b", deep, 24), 48, groups=3), 8)

    found = dependencies_of(build)
    assert classes(found)[:2] == [
        ("a.conv", 24, {"a.conv": 1, "deep.conv": 1}),
        ("b.conv", 3, {"b.conv": 8, "grouped.conv": 16}),
    ]
    assert [c.unit_step(8) for c in found.classes] == [8, 1, 8]
    assert set(found.slices(found.classes[1].units[1])) >= {
        Slice("grouped.conv.weight", 0, tuple(range(16, 32))),
        Slice("b.conv.weight", 0, tuple(range(8, 16))),
        Slice("c.conv.weight", 1, tuple(range(16, 32))),
    }


def test_groups_of_unequal_width_are_tied_until_both_fit():
    def build(b):
        return b.conv_bn("s", b.conv_bn("f", b.conv_bn("a", INPUT, 48), 48, groups=12), 48, groups=8)

    found = dependencies_of(build)
    assert classes(found) == [("a.conv", 4, {"a.conv": 12, "f.conv": 12, "s.conv": 12})]
    assert found.classes[0].unit_step(8) == 2


def test_squeeze_excitation_ties_the_gate_to_what_it_scales(networks):
    found = find_dependencies(networks["regnety-unet"])
    by_name = {c.name: c for c in found.classes}
    assert by_name["stage1.0.a.conv"].layers == {"stage1.0.a.conv": 8, "stage1.0.b.conv": 8, "stage1.0.se.excite": 8}
    assert by_name["stage1.0.se.squeeze"].layers == {"stage1.0.se.squeeze": 1}


def test_what_is_added_to_the_input_or_is_the_output_may_not_go():
    builder = GraphBuilder(8)
    summed = builder.add(Node("sum", "add", (INPUT, builder.conv_bn("a", INPUT, 8))))
    inner = builder.conv_bn("b", summed, 8)
    graph = builder.graph(builder.add(Node("up", "resize", (builder.head(inner, 8),), stride=2)))
    assert classes(find_dependencies(graph)) == [("b.conv", 8, {"b.conv": 1})]
    assert find_dependencies(graph).classes[0].feeds_output


def test_every_entry_of_every_weight_belongs_to_one_unit_on_each_channel_axis(dependencies):
    seen = {(weight, axis): [] for weight, axes in weight_axes(dependencies.graph).items() for axis in axes}
    for unit in range(dependencies.unit_count):
        for one in dependencies.slices(unit):
            seen[one.weight, one.axis] += one.index
    shapes = dependencies.graph.weight_shapes()
    assert all(sorted(index) == list(range(shapes[weight][axis])) for (weight, axis), index in seen.items())


def test_all_units_but_those_of_input_and_output_are_in_one_class(dependencies):
    free = [unit for one in dependencies.classes for unit in one.units]
    fixed = np.concatenate([dependencies.unit_of[INPUT], dependencies.unit_of[dependencies.graph.output]])
    assert sorted([*free, *set(fixed.tolist())]) == list(range(dependencies.unit_count))


def test_an_operation_of_unknown_effect_is_refused(networks):
    graph = networks["unet-plain-deconv-add"]
    shuffled = Node("x", "relu", (graph.output,))
    object.__setattr__(shuffled, "op", "shuffle")
    with pytest.raises(ValueError, match="node x: nothing is known of the channels of shuffle"):
        find_dependencies(Graph(graph.input_channels, (*graph.nodes, shuffled), graph.output))
