import re
import subprocess

import pytest

from tools.errors import ConversionError
from tools.model_files import find_model
from tools.opt_answers import LITE_CASTS, check_program, explain_opt
from tools.paddle_first import paddle
from tools.program_file import DTYPE_NAMES, FLOAT32, INT32, UINT8, Op, Program, Variable

nn = paddle.nn
functional = nn.functional
WEIGHT = Variable("w", FLOAT32, (8, 1, 3, 3), persistable=True, holder=False)


class After(nn.Layer):
    """A convolution and whatever is tried behind it."""

    def __init__(self, behind):
        super().__init__()
        self.conv = nn.Conv2D(1, 8, 3, padding=1)
        self.behind = behind

    def forward(self, x):
        return self.behind(self.conv(x))


@pytest.mark.parametrize(
    ("behind", "message"),
    [
        (lambda y: paddle.cast(y > 0, "float32"), "greater_than compares with a Python number"),
        (lambda y: paddle.where(y <= 0.5, y, y * 2), "less_equal compares with a Python number"),
        (
            lambda y: paddle.cast(paddle.equal(y, paddle.to_tensor(1.0)), "float32"),
            "equal compares with a Python number",
        ),
        (lambda y: paddle.cast(paddle.argmax(y, 1, dtype="int32"), "uint8"), "cannot cast int32 to uint8"),
        (lambda y: paddle.cast(paddle.argmax(y, 1), "uint8"), "cannot cast int64 to uint8"),
        (lambda y: paddle.cast(paddle.greater_than(y, y), "uint8"), "cannot cast bool to uint8"),
        (lambda y: paddle.cast(y, "float16"), "cannot cast float32 to float16"),
        (functional.relu6, "attribute threshold of relu6 was dropped on export"),
        (functional.swish, "attribute beta of swish was dropped on export"),
    ],
)
def test_what_aborts_on_the_device_is_found_in_the_program(behind, message, tmp_path, save_layer):
    program = save_layer(After(behind), tmp_path / "model", side=16, clip_extra=True)
    with pytest.raises(ConversionError, match=re.escape(message)):
        check_program(find_model(program).program, "model")


@pytest.mark.parametrize(
    "behind",
    [
        functional.relu6,
        functional.swish,
        lambda y: paddle.cast(paddle.greater_than(y, paddle.full_like(y, 1.0)), "float32"),
        lambda y: paddle.cast(paddle.cast(paddle.argmax(y, 1), "float32"), "uint8"),
    ],
)
def test_their_cures_pass(behind, tmp_path, save_layer):
    check_program(find_model(save_layer(After(behind), tmp_path / "model", side=16)).program, "model")


def test_all_findings_come_in_one_message():
    variables = (
        WEIGHT,
        Variable("a", INT32, (1, 8), persistable=False, holder=False),
        Variable("b", UINT8, (1, 8), persistable=False, holder=False),
    )
    program = Program((Op("relu6", ("a",), ("a",)), Op("cast", ("a",), ("b",)), Op("cast", ("a",), ("b",))), variables)
    with pytest.raises(ConversionError) as caught:
        check_program(program, "m.pdmodel")
    assert str(caught.value).count("; Paddle Lite cannot cast int32 to uint8") == 1
    assert "relu6" in str(caught.value)


def test_a_model_without_parameters_is_refused():
    with pytest.raises(ConversionError, match="m: the model has no parameters"):
        check_program(Program((Op("relu", ("a",), ("b",)),), ()), "m")


@pytest.mark.parametrize("before", sorted(DTYPE_NAMES))
@pytest.mark.parametrize("after", sorted(DTYPE_NAMES))
def test_exactly_the_casts_that_were_seen_to_work_pass(before, after):
    variables = (
        WEIGHT,
        Variable("a", before, (1, 8), persistable=False, holder=False),
        Variable("b", after, (1, 8), persistable=False, holder=False),
    )
    program = Program((Op("cast", ("a",), ("b",)),), variables)
    if (before, after) in LITE_CASTS:
        check_program(program, "m")
    else:
        with pytest.raises(ConversionError, match=f"{DTYPE_NAMES[before]} to {DTYPE_NAMES[after]}"):
            check_program(program, "m")


@pytest.mark.parametrize(
    ("returncode", "stderr", "answer"),
    [
        (-6, "Error: This model is not supported, because 2 ops are not supported on 'arm'. "
         "These unsupported ops are: 'erfinv, einsum'.", "operator erfinv is not supported; use another activation"),
        (-6, "Error: This model is not supported, because 1 ops are not supported on 'x86'. "
         "These unsupported ops are: 'bicubic_interp_v2'.", "use bilinear interpolation"),
        (-6, "No attributes called threshold found", "attribute threshold was dropped on export"),
        (-6, "Check failed: is_dispensable || is_have_output: ", "instance_norm"),
        (-6, "BN bias's size should be equal to the output channel", "another model"),
        (-6, "Failed to read 64 bytes", "parameter file is damaged"),
        (-6, "version of tensor 7 is not supported", "parameter file is damaged"),
        (-6, "Check failed: op_info->HasInputScale(calib_in_name):", "quantize --transposed"),
        (-6, "Check failed: is_found: Can't find a 'calib' kernel to trans: Tensor", "behind the last convolution"),
        (-6, "Wrong target 'riscv' found", "opt knows no target riscv"),
        (-6, "Unable to open file: /no/where.nb", "cannot write /no/where.nb"),
        (-11, "", "opt crashed; known causes are attention"),
        (-6, "[F] Check failed: something new", "killed by SIGABRT: .*something new"),
        (3, "", "exit code 3: no message"),
    ],
)  # fmt: skip
def test_opts_last_words_are_translated(returncode, stderr, answer):
    done = subprocess.CompletedProcess([], returncode, stdout="", stderr=stderr)
    assert re.search(answer, explain_opt(done))
