"""What is refused of an ONNX file before an engine sees it."""

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.errors import BundleError
from edge_runtime.inference.onnx_file import check_onnx

onnx = pytest.importorskip("onnx")
OPSET = 17


@pytest.fixture
def data(onnx_bundle):
    return (onnx_bundle.folder / "model.onnx").read_bytes()


def changed(data, change):
    model = onnx.load_from_string(data)
    change(model)
    return model.SerializeToString()


def test_the_tools_file_is_trusted(data):
    check_onnx(data, OPSET, "model.onnx")


def test_every_cut_is_noticed_or_lies_between_two_fields_of_the_model(data):
    noticed = 0
    for length in range(len(data)):
        try:
            check_onnx(data[:length], OPSET, "model.onnx")
        except BundleError:
            noticed += 1
    assert noticed >= len(data) - 1


@given(junk=st.binary(max_size=200))
@settings(deadline=None)
def test_junk_is_an_error_and_nothing_else(junk):
    with pytest.raises(BundleError, match=r"model\.onnx: not an ONNX network to be trusted"):
        check_onnx(junk, OPSET, "model.onnx")


@given(at=st.integers(0, 10_000), byte=st.integers(0, 255))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_is_an_error_or_nothing(data, at, byte):
    at %= len(data)
    with contextlib.suppress(BundleError):
        check_onnx(data[:at] + bytes([byte]) + data[at + 1 :], OPSET, "model.onnx")


def tensor_elsewhere(tensor):
    tensor.data_location = onnx.TensorProto.EXTERNAL


def in_constant(model):
    node = model.graph.node.add()
    node.op_type = "Constant"
    attribute = node.attribute.add()
    attribute.name, attribute.type = "value", onnx.AttributeProto.TENSOR
    tensor_elsewhere(attribute.t)


def in_branch(model):
    node = model.graph.node.add()
    node.op_type = "If"
    attribute = node.attribute.add()
    attribute.name, attribute.type = "then_branch", onnx.AttributeProto.GRAPH
    tensor_elsewhere(attribute.g.initializer.add())


def in_sparse(model):
    tensor_elsewhere(model.graph.sparse_initializer.add().values)


def path_alone(model):
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def deep(model):
    graph = model.graph
    for _ in range(20):
        attribute = graph.node.add().attribute.add()
        graph = attribute.g


def foreign_node(model):
    model.graph.node[0].domain = "com.example"


def foreign_set(model):
    model.opset_import.add().domain = "com.example"


CHANGES = {
    "weights elsewhere": (lambda model: tensor_elsewhere(model.graph.initializer[0]), "a tensor lies in another file"),
    "a path": (path_alone, "a tensor lies in another file"),
    "a constant elsewhere": (in_constant, "a tensor lies in another file"),
    "a branch's weights elsewhere": (in_branch, "a tensor lies in another file"),
    "sparse weights elsewhere": (in_sparse, "a tensor lies in another file"),
    "deep": (deep, "graphs inside graphs"),
    "another's operation": (foreign_node, "an operation of b'com.example'"),
    "another's operation set": (foreign_set, "its operation sets are ai.onnx 17, com.example 0, the manifest says 17"),
    "functions": (lambda model: model.functions.add(), "the model has field 25"),
    "training": (lambda model: model.training_info.add(), "the model has field 20"),
    "no graph": (lambda model: model.ClearField("graph"), "it has no graph"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_leads_out_of_the_file_is_refused(data, kind):
    change, reason = CHANGES[kind]
    with pytest.raises(BundleError) as caught:
        check_onnx(changed(data, change), OPSET, "model.onnx")
    assert reason in str(caught.value)


def test_another_opset_than_the_manifests_is_refused(data):
    with pytest.raises(BundleError, match=r"its operation sets are ai\.onnx 17, the manifest says 18"):
        check_onnx(data, 18, "model.onnx")
