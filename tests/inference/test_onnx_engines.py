"""What the engines of ONNX files share: right numbers, and no file but the manifest's network is ever trusted."""

import builtins
import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.config_inspection import InspectionSettings
from edge_runtime.engines import allowed_share
from edge_runtime.errors import BundleError, InferenceError
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.inference.golden import compare
from edge_runtime.inference.onnx_runtime import open_onnx_runtime
from edge_runtime.inference.open_vino import open_openvino
from edge_runtime.inference.planes import Port, check_ports
from edge_runtime.inference.proof import check_golden
from edge_runtime.values import Mask

onnx = pytest.importorskip("onnx")
GREYS = [60, 160, 220, 10]
ENGINES = {"onnxruntime": open_onnx_runtime, "openvino": open_openvino}


@pytest.fixture(params=ENGINES)
def engine(request):
    pytest.importorskip(request.param)
    return ENGINES[request.param]


@given(greys=st.lists(st.integers(0, 255), min_size=32, max_size=32))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
def test_it_computes_what_the_formula_says(engine, onnx_bundle, stripes, expected, greys):
    picture = stripes(greys)
    class_ids, scores = predict(engine(onnx_bundle), picture)
    golden = expected(picture)
    assert np.abs(scores.astype(int) - golden.scores).max() <= 1
    assert np.array_equal(class_ids, golden.class_ids)


def predict(segmenter, picture):
    return segmenter.predict(picture)


@pytest.mark.parametrize("threads", [1, 2])
def test_it_passes_the_golden_tiles(engine, onnx_bundle, comparing_onnx_bundle, threads):
    for bundle in (onnx_bundle, comparing_onnx_bundle):
        (report,) = check_golden(bundle, engine(bundle, threads=threads))
        assert report.passed


# -- coarser arithmetic -----------------------------------------------------------------------------------------------


def with_moved_golden(bundle, cells):
    """The golden scores of `cells` cells are 100 off, as coarser arithmetic would find them."""
    golden = bundle.read_golden(bundle.manifest.golden[0]).mask
    scores = golden.scores.copy()
    scores.ravel()[:cells] = scores.ravel()[:cells] ^ np.uint8(100)
    return Mask(golden.class_ids, scores, 2)


@pytest.mark.parametrize(
    ("cells", "allowed_share", "passes"), [(0, 0.0, True), (1, 0.0, False), (10, 0.01, True), (11, 0.01, False)]
)
def test_a_share_of_the_cells_may_move_where_the_bundle_allows_it(onnx_bundle, cells, allowed_share, passes):
    golden = onnx_bundle.read_golden(onnx_bundle.manifest.golden[0]).mask
    report = compare("0.png", with_moved_golden(onnx_bundle, cells), golden, onnx_bundle.classes, allowed_share)
    assert (report.passed, report.moved_share) == (passes, cells / golden.scores.size)


ALLOWED = {"onnx": {"bf16": 0.004}, "onnx+int8": {"int8": 0.003}}


@pytest.mark.parametrize(
    ("told", "share"),
    [
        ({"backend": "onnxruntime"}, 0.0),
        ({"backend": "onnxruntime", "openvino_precision": "bf16"}, 0.0),
        ({"backend": "openvino"}, 0.0),
        ({"backend": "openvino", "openvino_precision": "bf16"}, 0.004),
        ({"backend": "openvino", "openvino_precision": "f16"}, 0.0),
        ({"backend": "openvino", "target": "onnx+int8"}, 0.003),
        ({"backend": "onnxruntime", "target": "onnx+int8"}, 0.003),
    ],
)
def test_the_bundle_allows_a_share_for_one_arithmetic(onnx_bundle, told, share):
    (artefact,) = onnx_bundle.manifest.artefacts
    artefacts = tuple(
        artefact.model_copy(update={"target": target, "allowed_shares": shares}) for target, shares in ALLOWED.items()
    )
    bundle = replace(onnx_bundle, manifest=onnx_bundle.manifest.model_copy(update={"artefacts": artefacts}))
    assert allowed_share(InspectionSettings(bundle=bundle.folder, **told), bundle) == share


# -- files that are not the network ---------------------------------------------------------------------------------


def put(bundle, data):
    """Replace the network; the manifest stays honest about the file, as one from a hostile hand would be."""
    (bundle.folder / "model.onnx").write_bytes(data)
    path = bundle.folder / "manifest.json"
    raw = json.loads(path.read_bytes())
    raw["artefacts"][0].update(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    path.write_text(json.dumps(raw))
    return load_bundle(bundle.folder)


def test_a_file_that_changed_is_refused_by_its_digest(engine, onnx_bundle):
    path = onnx_bundle.folder / "model.onnx"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BundleError, match=r"model\.onnx: sha256 is"):
        engine(onnx_bundle)


def cut(data):
    return data[: len(data) // 2]


def renamed(which, old, new):
    def damage(data):
        model = onnx.load_from_string(data)
        for node in model.graph.node:
            names = node.input if which == "input" else node.output
            names[:] = [new if name == old else name for name in names]
        for port in getattr(model.graph, which):
            port.name = new if port.name == old else port.name
        return model.SerializeToString()

    return damage


def swapped(data):
    """The planes in the other order."""
    model = onnx.load_from_string(data)
    outputs = list(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend(reversed(outputs))
    return model.SerializeToString()


def free_sides(data):
    model = onnx.load_from_string(data)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    return model.SerializeToString()


def unknown_operation(data):
    model = onnx.load_from_string(data)
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Telu"
    return model.SerializeToString()


def external(data):
    """A weight that lies in a file which exists; the engines would read it without a word."""
    model = onnx.load_from_string(data)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", sys.executable
    return model.SerializeToString()


FILES = {
    "cut": (cut, "not an ONNX network to be trusted: cut off"),
    "text": (lambda data: b"no network at all, only text\n" * 20, "not an ONNX network to be trusted"),
    "one byte": (lambda data: data[:1], "cut off"),
    "json": (lambda data: b'{"ir_version": 8}', "not an ONNX network to be trusted"),
    "another file's weights": (external, "a tensor lies in another file"),
    "unknown operation": (unknown_operation, "cannot open it"),
    "input's name": (renamed("input", "tile", "image"), "the network is image float32 1×1×64×64 → class_ids"),
    "output's name": (
        renamed("output", "scores", "heat"),
        "→ class_ids uint8 1×32×32, heat uint8 1×32×32",
    ),
    "order of outputs": (swapped, "→ scores uint8 1×32×32, class_ids uint8 1×32×32, the manifest promises tile"),
    "free sides": (free_sides, "the network is tile float32 1×1×"),
}
IN_A_CHILD = """
import sys
from pathlib import Path
from edge_runtime.errors import BundleError
from edge_runtime.inference.bundle import load_bundle
if sys.argv[1] == "onnxruntime":
    from edge_runtime.inference.onnx_runtime import open_onnx_runtime as Engine
else:
    from edge_runtime.inference.open_vino import open_openvino as Engine
for folder in map(Path, sys.argv[2:]):
    try:
        Engine(load_bundle(folder))
    except BundleError as exc:
        print(exc)
    else:
        print("opened")
"""


@pytest.mark.parametrize("name", ENGINES)
def test_a_file_that_is_not_the_manifests_network_is_refused_and_the_process_lives(name, onnx_bundle, tmp_path):
    pytest.importorskip(name)
    good = (onnx_bundle.folder / "model.onnx").read_bytes()
    folders = []
    for number, (damage, _) in enumerate(FILES.values()):
        folder = tmp_path / f"damaged-{number}"
        folder.mkdir()
        for path in onnx_bundle.folder.rglob("*"):
            target = folder / path.relative_to(onnx_bundle.folder)
            target.mkdir() if path.is_dir() else target.write_bytes(path.read_bytes())
        put(replace(onnx_bundle, folder=folder), damage(good))
        folders.append(str(folder))
    command = [sys.executable, "-W", "error", "-c", IN_A_CHILD, name, *folders]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answers = done.stdout.splitlines()
    assert len(answers) == len(FILES)
    for (kind, (_, reason)), answer in zip(FILES.items(), answers, strict=True):
        assert "model.onnx: " in answer, kind
        assert reason in answer, kind


def test_a_manifest_that_promises_another_stride_is_refused(engine, onnx_bundle):
    output = onnx_bundle.manifest.output.model_copy(update={"mask_stride_px": 4})
    bundle = replace(onnx_bundle, manifest=onnx_bundle.manifest.model_copy(update={"output": output}))
    with pytest.raises(BundleError, match=r"class_ids uint8 1×32×32.*promises.*class_ids uint8 1×16×16"):
        engine(bundle)


def test_a_bundle_without_onnx_says_what_it_has(engine, scripted_bundle):
    with pytest.raises(BundleError, match="no artefact for onnx; the bundle has x86"):
        engine(scripted_bundle)


def test_ports_must_be_the_manifests_by_name_type_and_size(onnx_bundle):
    tile = Port("tile", "float32", (1, 1, 64, 64))
    planes = [Port("class_ids", "uint8", (1, 32, 32)), Port("scores", "uint8", (1, 32, 32))]
    check_ports(onnx_bundle, "model.onnx", [tile], planes)
    for inputs, outputs in (
        ([], planes),
        ([tile, tile], planes),
        ([replace(tile, dtype="float16")], planes),
        ([replace(tile, dims=(1, 2, 64, 64))], planes),
        ([tile], planes[:1]),
        ([tile], [*planes, planes[0]]),
        ([tile], [replace(planes[0], dtype="int64"), planes[1]]),
        ([tile], [replace(planes[0], dims=(1, 32, 31)), planes[1]]),
    ):
        with pytest.raises(BundleError, match=r"model\.onnx: the network is .*, the manifest promises tile float32"):
            check_ports(onnx_bundle, "model.onnx", inputs, outputs)


# -- one plane ------------------------------------------------------------------------------------------------------


def with_one_plane(bundle, kind, name):
    """The network with only its output `name`, and a manifest that says so."""
    model = onnx.load_from_string((bundle.folder / "model.onnx").read_bytes())
    kept = [port for port in model.graph.output if port.name == name]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    bundle = put(bundle, model.SerializeToString())
    output = bundle.manifest.output.model_copy(update={"kind": kind})
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"output": output}))


def test_one_plane_of_class_ids_scores_255_where_it_is_not_0(engine, onnx_bundle, stripes, expected):
    golden = expected(stripes(GREYS))
    class_ids, scores = predict(engine(with_one_plane(onnx_bundle, "class_ids", "class_ids")), stripes(GREYS))
    assert np.array_equal(class_ids, golden.class_ids)
    assert np.array_equal(scores, np.full_like(scores, 255))


def test_one_plane_of_scores_is_the_only_class(engine, onnx_bundle, stripes, expected):
    golden = expected(stripes(GREYS))
    class_ids, scores = predict(engine(with_one_plane(onnx_bundle, "score", "scores")), stripes(GREYS))
    assert np.array_equal(class_ids, Mask(np.ones_like(scores), scores, 2).class_ids)
    assert np.abs(scores.astype(int) - golden.scores).max() <= 1


# -- settings and installation ----------------------------------------------------------------------------------------


def test_a_provider_this_build_lacks_is_refused(onnx_bundle):
    pytest.importorskip("onnxruntime")
    with pytest.raises(InferenceError, match="provider tensorrt: this build of ONNX Runtime has cpu; take a build"):
        open_onnx_runtime(onnx_bundle, providers=("tensorrt", "cpu"))


def test_an_unknown_precision_is_refused(onnx_bundle):
    pytest.importorskip("openvino")
    with pytest.raises(InferenceError, match="precision 'int4': allowed are f32, bf16, f16"):
        open_openvino(onnx_bundle, precision="int4")


@pytest.mark.parametrize(
    ("name", "reason"), [("onnxruntime", r"edge-defect-runtime\[onnx\].*Jetson"), ("openvino", r"runtime\[openvino\]")]
)
def test_without_the_engine_the_message_says_what_to_install(onnx_bundle, monkeypatch, name, reason):
    real_import = builtins.__import__

    def without(module, *rest):
        if module == name:
            raise ModuleNotFoundError(f"No module named {module!r}")
        return real_import(module, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InferenceError, match=reason):
        ENGINES[name](onnx_bundle)


QUIET = """
import multiprocessing.process, socket, sys
from pathlib import Path
def refuse(*arguments, **options):
    print("reaches out", *arguments)
socket.getaddrinfo = socket.socket.connect = refuse
multiprocessing.process.BaseProcess.start = refuse
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.inference.proof import check_golden
from edge_runtime.inference.open_vino import open_openvino
bundle = load_bundle(Path(sys.argv[1]))
check_golden(bundle, open_openvino(bundle))
print(*(name for name in sys.modules if name.startswith("openvino_telemetry.")))
"""


def test_openvino_reports_to_nobody(onnx_bundle):
    pytest.importorskip("openvino")
    command = [sys.executable, "-c", QUIET, str(onnx_bundle.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == ""
