import re
import subprocess

import pytest

from tools.convert import convert_model, explain_opt
from tools.errors import ConversionError
from tools.paddle_first import paddle


def test_both_targets_are_made_checked_and_named(exported, tmp_path):
    made = convert_model(exported, tmp_path / "out", ["x86", "arm"])
    assert [(c.target, c.path.name) for c in made] == [("x86", "tiny.x86.nb"), ("arm", "tiny.arm.nb")]
    assert [parity.unequal_share < 1e-3 for parity in made[0].parity] == [True, True]
    assert made[1].parity is None
    assert all(c.path.read_bytes()[10:18] == bytes(8) for c in made)
    assert all(c.opt_version.startswith("v2.13") for c in made)


def test_an_operator_opt_lacks_is_named_with_its_replacement(tmp_path):
    class Unshuffle(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.conv = paddle.nn.Conv2D(4, 8, 3, padding=1)

        def forward(self, x):
            return self.conv(paddle.nn.functional.pixel_unshuffle(x, 2))

    prefix = tmp_path / "model"
    spec = paddle.static.InputSpec([1, 1, 32, 32], "float32", "x")
    paddle.jit.save(Unshuffle(), str(prefix), input_spec=[spec], clip_extra=False)
    with pytest.raises(ConversionError, match="operator pixel_unshuffle is not supported; use reshape"):
        convert_model(prefix.with_suffix(".pdmodel"), tmp_path / "out", ["x86"])
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_truncated_program_makes_no_file(exported, tmp_path, share):
    data = exported.read_bytes()
    (tmp_path / "cut.pdmodel").write_bytes(data[: int(share * len(data))])
    (tmp_path / "cut.pdiparams").write_bytes(exported.with_suffix(".pdiparams").read_bytes())
    with pytest.raises(ConversionError, match=r"cut\.pdmodel"):
        convert_model(tmp_path / "cut.pdmodel", tmp_path / "out", ["x86"])
    assert not (tmp_path / "out").exists()


def test_an_unknown_target_is_refused_before_anything_runs(exported, tmp_path):
    with pytest.raises(ConversionError, match="riscv; allowed: x86, arm"):
        convert_model(exported, tmp_path / "out", ["riscv"])


@pytest.mark.parametrize(
    ("stderr", "answer"),
    [
        ("Error: This model is not supported, because 1 ops are not supported on 'arm'. "
         "These unsupported ops are: 'erfinv'.", "operator erfinv is not supported"),
        ("No attributes called threshold found", "attribute threshold was dropped on export"),
        ("BN bias's size should be equal to the output channel", "another model"),
        ("Failed to read 64 bytes", "parameter file is damaged"),
        ("[F] Check failed: something new", "killed by SIGABRT: .*something new"),
    ],
)  # fmt: skip
def test_opts_last_words_are_translated(stderr, answer):
    done = subprocess.CompletedProcess([], -6, stdout="", stderr=stderr)

    assert re.search(answer, explain_opt(done))
