"""OpenVINO's graph with the answer taken otherwise against the same graph as it was read."""

from pathlib import Path

import numpy as np
import pytest

from edge_runtime.inference.open_vino_answer import compare_planes

onnx = pytest.importorskip("onnx")
openvino = pytest.importorskip("openvino")
SIDE_PX = 128
SHIPPED = Path(__file__).parents[2] / "opt_models" / "pcb-unet" / "4"


def changed(data, **arrays):
    """The network with some of its constants, by name, put through a function."""
    model = onnx.load_from_string(data)
    for constant in model.graph.initializer:
        if constant.name in arrays:
            values = arrays[constant.name](onnx.numpy_helper.to_array(constant).copy())
            constant.CopyFrom(onnx.numpy_helper.from_array(values, constant.name))
    return model.SerializeToString()


def twins(values):
    """Classes 2 and 5 are equally likely everywhere, and much likelier than the others."""
    values[[2, 5]] = 10 * values[2]
    return values


def read(data):
    network = openvino.Core().read_model(data)
    network.reshape([1, 1, SIDE_PX, SIDE_PX])
    return network


def answers(network, precision, tile):
    hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1}
    found = openvino.Core().compile_model(network, "CPU", hints)(tile)
    return found["class_ids"], found["scores"]


def uses_topk(network):
    return any(each.get_type_name() == "TopK" for each in network.get_ordered_ops())


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_not_a_bit_of_the_answer_changes(precision):
    data = (SHIPPED / "model.onnx").read_bytes()
    tile = np.random.default_rng(1).normal(0, 2, (1, 1, SIDE_PX, SIDE_PX)).astype(np.float32)
    plain, quick = read(data), read(data)
    compare_planes(openvino, quick)
    assert uses_topk(plain)
    assert not uses_topk(quick)
    for was, now in zip(answers(plain, precision, tile), answers(quick, precision, tile), strict=True):
        np.testing.assert_array_equal(now, was, strict=True)


def test_of_equally_likely_classes_the_first_is_told():
    data = changed((SHIPPED / "model.onnx").read_bytes(), **{"head.weight": twins, "head.bias": twins})
    tile = np.random.default_rng(2).normal(0, 2, (1, 1, SIDE_PX, SIDE_PX)).astype(np.float32)
    network = read(data)
    compare_planes(openvino, network)
    class_ids, _ = answers(network, "f32", tile)
    assert 5 not in class_ids
    np.testing.assert_array_equal(class_ids, answers(read(data), "f32", tile)[0])
    assert 2 in class_ids


@pytest.mark.parametrize(("name", "more"), [("first.id", 1), ("at.end", -1)])
def test_a_network_that_ends_otherwise_stays_as_it_is(name, more):
    network = read(changed((SHIPPED / "model.onnx").read_bytes(), **{name: lambda value: value + more}))
    compare_planes(openvino, network)
    assert uses_topk(network)
