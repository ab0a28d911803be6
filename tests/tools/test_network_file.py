"""A network file gives back exactly what was saved, or one clear error."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.errors import ToolError
from tools.graph import initial_weights
from tools.network_file import FILE_NAME, graph_from_json, graph_to_json, load_network, save_network


@pytest.fixture(scope="module")
def stored(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / FILE_NAME
    save_network(path, *tiny)
    return path


def test_a_network_comes_back_as_it_was(stored, tiny):
    for path in (stored, stored.parent):
        graph, weights = load_network(path)
        assert graph == tiny[0]
        assert list(weights) == list(tiny[1])
        assert all(np.array_equal(weights[name], tiny[1][name]) for name in weights)


def test_every_kind_of_graph_survives_json(make_unet):
    for graph in (make_unet(block="separable", skip="concat"), make_unet(2, upsampling="resize")):
        assert graph_from_json(json.loads(json.dumps(graph_to_json(graph)))) == graph


@pytest.mark.filterwarnings("ignore:Reading `.np")
@settings(max_examples=150)
@given(data=st.data())
def test_a_cut_or_changed_file_is_told_or_changes_nothing(stored, tmp_path_factory, tiny, data):
    whole = stored.read_bytes()
    if data.draw(st.booleans()):
        spoilt = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        spoilt = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    path = tmp_path_factory.getbasetemp() / "spoilt.npz"
    path.write_bytes(spoilt)
    try:
        graph, weights = load_network(path)
    except ToolError:
        return
    assert graph == tiny[0]
    assert all(np.array_equal(weights[name], tiny[1][name]) for name in tiny[1])


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def npy(value):
    stream = io.BytesIO()
    np.save(stream, value, allow_pickle=True)
    return stream.getvalue()


def zipped(name, data):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        npy(np.zeros(3)),
        pickle.dumps(Harmful()),
        npy(np.array([Harmful()], object)),
        zipped("graph.json.npy", npy(np.array([Harmful()], object))),
        zipped("graph.json", b"{}"),
        npz(weights=np.zeros(3)),
        npz(**{"graph.json": np.frombuffer(b"{}", np.uint8)}),
        npz(**{"graph.json": np.frombuffer(b"[1]", np.uint8)}),
        npz(**{"graph.json": np.frombuffer(b'{"input_channels": 1, "nodes": [{"name": "a"}]}', np.uint8)}),
    ],
)
def test_foreign_files_are_refused_and_nothing_is_unpickled(content, tmp_path):
    path = tmp_path / "foreign.npz"
    path.write_bytes(content)
    with pytest.raises(ToolError, match=r"foreign\.npz: not a whole network file"):
        load_network(path)


def test_no_network_is_told_with_what_to_give(tmp_path):
    with pytest.raises(ToolError, match=r"network\.npz: No such file or directory; give a network\.npz or the folder"):
        load_network(tmp_path)


def test_weights_of_another_graph_are_not_saved(make_unet, tmp_path):
    with pytest.raises(ValueError, match="weight"):
        save_network(tmp_path / FILE_NAME, make_unet(), initial_weights(make_unet(2), 0))
    assert list(tmp_path.iterdir()) == []
