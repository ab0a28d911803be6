import numpy as np
import pytest

from tools.convert import convert_model
from tools.errors import ConversionError
from tools.model_files import find_model
from tools.paddle_first import paddle
from tools.qat import export_qat, quantized_layer_names, wrap_for_qat
from tools.simulate import run_paddle

nn = paddle.nn
TILE = paddle.static.InputSpec([1, 1, 64, 64], "float32", "tile")
# Paddle warns in train mode of batch norm and on export; neither can be helped from outside.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def train(network, tiles, step_count, rate):
    images = paddle.to_tensor(tiles)
    labels = paddle.to_tensor((np.abs(tiles[:, 0, ::2, ::2]) > 1).astype(np.int64))
    optimizer = paddle.optimizer.Adam(rate, parameters=network.parameters())
    network.train()
    for _ in range(step_count):
        loss = nn.functional.cross_entropy(network(images), labels, axis=1)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    network.eval()
    return network(images).numpy()


@pytest.fixture(scope="module")
def trained(small_class, tiles):
    """A network after float training and fine-tuning in simulated INT8: itself, its answers in both states."""
    paddle.seed(0)
    network = small_class()
    in_float = train(network, tiles, 40, 1e-2)
    wrapped = wrap_for_qat(network)
    return wrapped, in_float, train(wrapped, tiles, 20, 1e-4)


def test_the_exported_program_answers_as_the_trained_network_and_near_the_float_one(trained, tiles, tmp_path):
    network, in_float, in_int8 = trained
    (found,) = run_paddle(find_model(export_qat(network, tmp_path / "qat", TILE)), [tiles[:, None]])
    assert np.abs(found[:, 0] - in_int8).max() < 1e-5
    assert np.sqrt(np.mean((found[:, 0] - in_float) ** 2)) < 0.2 * in_float.std()
    assert np.mean(found[:, 0].argmax(1) == in_float.argmax(1)) > 0.9
    assert paddle.in_dynamic_mode()


def test_opt_reads_it_for_x86_and_arm_as_bytes_too(trained, bytes_class, tmp_path):
    program = export_qat(bytes_class(trained[0]), tmp_path / "qat", TILE)
    made = convert_model(program, tmp_path, ["x86", "arm+int8"])
    assert [(c.path.name, c.precision) for c in made] == [("qat.x86.int8.nb", "int8"), ("qat.arm-int8.nb", "int8")]


def test_training_goes_on_after_an_export(trained, tiles, tmp_path):
    network, _, before = trained
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    export_qat(network, tmp_path / "qat", TILE)
    np.testing.assert_array_equal(network(paddle.to_tensor(tiles)).numpy(), before)
    assert not np.array_equal(train(network, tiles, 1, 1e-3), before)
    network.set_state_dict(weights)
    network.eval()


def test_named_layers_stay_float(small_class):
    assert quantized_layer_names(wrap_for_qat(small_class(), ["head"])) == ("stem.0", "down.0", "merge.0")
    assert quantized_layer_names(wrap_for_qat(small_class())) == ("stem.0", "down.0", "merge.0", "head")


@pytest.mark.parametrize("names", [["tail"], ["stem.0", "down.0", "merge.0", "head"], ["up"]])
def test_wrong_names_are_answered_with_the_right_ones(small_class, names):
    with pytest.raises(ConversionError, match=r"convolutions are stem\.0, down\.0, merge\.0, head"):
        wrap_for_qat(small_class(), names)


def test_a_network_without_convolution_is_refused():
    with pytest.raises(ConversionError, match=r"no paddle\.nn\.Conv2D"):
        wrap_for_qat(nn.Linear(4, 4))


def test_a_float_network_is_not_exported_as_int8(small_class, tmp_path):
    with pytest.raises(ConversionError, match="wrap it with wrap_for_qat first"):
        export_qat(small_class(), tmp_path / "qat", TILE)
