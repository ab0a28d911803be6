import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.convert import run_opt
from tools.errors import CalibrationError, ConversionError
from tools.model_files import find_model
from tools.paddle_first import paddle
from tools.program_file import Op, Program
from tools.quantize import fewest, probe_names, quantizable_layers, quantize_model
from tools.simulate import Agreement, run_paddle

nn = paddle.nn


def spread_error(wanted, found):
    return float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())


@pytest.fixture(scope="module")
def float_answers(logits_program, tiles):
    return run_paddle(find_model(logits_program), [tiles[:, None]])[0]


@pytest.mark.parametrize("algorithm", ["avg", "hist", "KL"])
def test_each_algorithm_gives_a_program_that_answers_nearly_as_the_float_one(
    logits_program, float_answers, tiles, tmp_path, algorithm
):
    made = quantize_model(logits_program, tiles, tmp_path, algorithm)
    (found,) = run_paddle(find_model(made.path), [tiles[:, None]])
    assert made.path == tmp_path / "logits.pdmodel"
    assert find_model(made.path).program.is_quantized()
    assert 0 < made.error < 0.15
    assert made.error == pytest.approx(spread_error(float_answers[:4], found[:4]), rel=1e-3)


def test_layers_come_with_their_own_error_the_most_harmful_first(quantized):
    errors = [layer.error for layer in quantized.layers]
    assert [layer.kind for layer in quantized.layers] == ["conv2d"] * 4
    assert errors == sorted(errors, reverse=True)
    assert all(0 < error <= 1.5 * quantized.error for error in errors)
    assert quantized.steps == ()


def test_layers_go_back_to_float_until_the_quality_holds(exported, quantized, tiles, tmp_path):
    worst = [layer.name for layer in quantized.layers]

    def quality(path):
        """One for each layer, from the worst on, whose weight is not stored in 8 bits."""
        program = find_model(path).program
        return float(sum(any(name in op.inputs for op in program.ops if op.kind == "conv2d") for name in worst[:2]))

    made = quantize_model(exported, tiles, tmp_path, quality=quality)
    assert [layer.name for layer in made.layers if layer.kept_float] == worst[:2]
    assert made.float_quality == 2.0
    assert [(len(step.float_layers), step.quality) for step in made.steps] == [(0, 0.0), (1, 1.0), (2, 2.0)]
    kinds = [op.kind for op in find_model(made.path).program.ops]
    assert kinds.count("dequantize_linear") > kinds.count("quantize_linear")


def test_agreement_is_whole_with_oneself_and_less_in_int8(exported, quantized, tiles):
    quality = Agreement(exported, tiles)
    assert quality(exported) == 1.0
    assert 0.1 < quality(quantized.path) < 1.0


def test_a_quality_that_never_holds_leaves_no_file(exported, tiles, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ConversionError, match=r"no layer can be quantised within a tolerance of 0\.1"):
        quantize_model(exported, tiles, out, quality=lambda path: float(path == exported), tolerance=0.1)
    assert not out.exists()


@given(count=st.integers(1, 200), needed=st.integers(0, 200))
def test_the_fewest_is_found_in_few_tries(count, needed):
    tried = []

    def passes(n):
        tried.append(n)
        return n >= needed

    assert fewest(count, passes) == min(count, needed)
    assert len(tried) == len(set(tried)) <= 2 * count.bit_length() + 1
    assert max(tried) < count


def test_the_answer_is_measured_before_it_becomes_bytes(exported):
    program = find_model(exported).program
    (probe,) = probe_names(program)
    maker = next(op for op in program.ops if probe in op.outputs)
    assert maker.kind == "conv2d"
    assert maker is [op for op in program.ops if op.kind == "conv2d"][-1]


def test_every_head_is_measured():
    ops = (
        Op("conv2d", ("x",), ("body",)),
        Op("relu", ("body",), ("active",)),
        Op("conv2d", ("active",), ("left",)),
        Op("conv2d_transpose", ("active",), ("right",)),
        Op("softmax", ("left",), ("shares",)),
    )
    assert probe_names(Program(ops, ())) == ("left", "right")


def test_transposed_convolutions_only_on_request(exported, tiles, tmp_path):
    program = find_model(exported).program
    assert {layer.kind for layer in quantizable_layers(program).values()} == {"conv2d"}
    made = quantize_model(exported, tiles, tmp_path, transposed=True)
    assert [layer.kind for layer in made.layers].count("conv2d_transpose") == 1
    assert run_opt(find_model(made.path), "verisilicon_timvx,arm", tmp_path, "int8").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "mse"}, "algorithm mse; allowed: avg, hist, KL"),
        ({"tolerance": -0.1}, "tolerance -0.1; it is what the quality may lose"),
        ({"tolerance": float("nan")}, "tolerance nan"),
    ],
)
def test_wrong_requests_are_refused(exported, tiles, tmp_path, options, message):
    with pytest.raises(ConversionError, match=re.escape(message)):
        quantize_model(exported, tiles, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_tiles_of_another_size_are_refused(exported, tiles, tmp_path):
    with pytest.raises(CalibrationError, match=re.escape("[1, 32, 64]")):
        quantize_model(exported, tiles[:, :, :32], tmp_path)


def test_the_float_program_is_never_overwritten(exported, tiles):
    before = exported.read_bytes()
    with pytest.raises(ConversionError, match="holds the float program"):
        quantize_model(exported, tiles, exported.parent)
    assert exported.read_bytes() == before


def test_a_quantised_program_is_not_quantised_again(quantized, tiles, tmp_path):
    with pytest.raises(ConversionError, match="is quantised already; give the float program"):
        quantize_model(quantized.path, tiles, tmp_path / "out")


def test_a_program_without_convolution_is_refused(tiles, tmp_path, save_layer):
    program = save_layer(nn.Sequential(nn.Flatten(), nn.Linear(64 * 64, 4)), tmp_path / "flat")
    with pytest.raises(ConversionError, match="no conv2d or depthwise_conv2d with a stored weight"):
        quantize_model(program, tiles, tmp_path / "out")


def test_the_callers_paddle_stays_in_dynamic_mode(quantized):
    assert paddle.in_dynamic_mode()
    assert float(paddle.ones([1]) + 1) == 2.0


def test_what_paddle_cannot_run_is_told_in_its_words(free_program, tmp_path):
    odd = np.random.default_rng(0).standard_normal((8, 1, 62, 62), np.float32)
    with pytest.raises(ConversionError, match=r"free\.pdmodel: Paddle cannot calibrate its INT8 form: .*Invalid"):
        quantize_model(free_program, odd, tmp_path / "out")
    assert not (tmp_path / "out").exists()
