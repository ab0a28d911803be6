import re

import pytest

from edge_runtime.inference.nb_file import read_nb_header
from tools import opt_targets
from tools.children import run_child
from tools.convert import convert_model, run_opt
from tools.errors import ConversionError
from tools.model_files import find_model
from tools.paddle_first import paddle
from tools.quantize import quantize_model


def test_both_targets_are_made_checked_and_named(exported, tmp_path):
    made = convert_model(exported, tmp_path / "out", ["x86", "arm"])
    assert [(c.target, c.path.name) for c in made] == [("x86", "tiny.x86.nb"), ("arm", "tiny.arm.nb")]
    assert [parity.unequal_share < 1e-3 for parity in made[0].parity] == [True, True]
    assert made[1].parity is None
    assert all(c.path.read_bytes()[10:18] == bytes(8) for c in made)
    assert all(c.opt_version.startswith("v2.13") for c in made)


def test_tensors_that_pass_share_memory_on_x86(exported, tmp_path):
    model = find_model(exported)
    done = run_child("opt_child.py", str(exported), str(model.params_path), "x86", "0", "", str(tmp_path / "plain"))
    assert done.returncode == 0
    sharing, plain = run_opt(model, "x86", tmp_path), tmp_path / "plain.nb"
    assert len(tensors(sharing)) < 0.6 * len(tensors(plain))
    assert read_nb_header(sharing).kernels == read_nb_header(plain).kernels


def test_a_file_that_can_only_be_made_without_sharing_is_made_and_told(exported, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(opt_targets, "X86_SHARING", "x86,nowhere")
    made = run_opt(find_model(exported), "x86", tmp_path)
    (told,) = caplog.messages
    assert made.exists()
    assert "opt for x86 failed: opt knows no target nowhere; with the places x86 alone it is made, but" in told


def test_where_neither_can_be_made_both_causes_are_told(exported, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(opt_targets, "X86_SHARING", "x86,nowhere")
    (tmp_path / "opt.x86.fp32.nb").mkdir()  # opt cannot write there
    causes = r"cannot write .*; before, with the places x86,nowhere: .* opt knows no target nowhere"
    with pytest.raises(ConversionError, match=causes) as refused:
        run_opt(find_model(exported), "x86", tmp_path)
    assert "opt knows no target nowhere" in str(refused.value.__cause__)
    assert caplog.messages == []


def tensors(nb_path):
    return set(re.findall(rb"[a-z]\w+\.tmp_\w+", nb_path.read_bytes()))


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
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_truncated_program_makes_no_file(exported, tmp_path, share):
    data = exported.read_bytes()
    (tmp_path / "cut.pdmodel").write_bytes(data[: int(share * len(data))])
    (tmp_path / "cut.pdiparams").write_bytes(exported.with_suffix(".pdiparams").read_bytes())
    with pytest.raises(ConversionError, match=r"cut\.pdmodel"):
        convert_model(tmp_path / "cut.pdmodel", tmp_path / "out", ["x86"])
    assert not (tmp_path / "out").exists()


def test_an_unknown_target_is_refused_before_anything_runs(exported, tmp_path):
    with pytest.raises(ConversionError, match="riscv; allowed: x86 arm "):
        convert_model(exported, tmp_path / "out", ["riscv"])


def kernels(made):
    return {(kernel.target, kernel.precision) for kernel in read_nb_header(made.path).kernels}


def test_every_target_takes_a_float_program_with_kernels_of_its_own(exported, tmp_path):
    targets = ["arm+fp16", "opencl,arm", "rockchip_npu,arm", "amlogic_npu,arm", "verisilicon_timvx,arm"]
    made = {c.target: c for c in convert_model(exported, tmp_path, targets)}
    assert list(made) == targets
    assert made["arm+fp16"].precision == "fp16"
    assert ("arm", 5) in kernels(made["arm+fp16"])
    assert ("opencl", 5) in kernels(made["opencl,arm"])
    assert all(("nnadapter", 4) in kernels(made[target]) for target in targets[2:])
    assert all(c.parity is None for c in made.values())


def test_an_int8_program_gives_int8_kernels(quantized, tmp_path):
    made = {c.target: c for c in convert_model(quantized.path, tmp_path, ["x86", "arm+int8", "rockchip_npu,arm"])}
    assert {c.precision for c in made.values()} == {"int8"}
    assert ("x86", 2) in kernels(made["x86"])
    assert ("arm", 2) in kernels(made["arm+int8"])
    assert [c.path.name for c in made.values()][:2] == ["tiny.x86.int8.nb", "tiny.arm-int8.nb"]
    assert len(made["x86"].parity) == 2


def test_int8_kernels_that_crash_on_x86_still_go_to_the_device(tiles, tmp_path, save_layer):
    layers = [paddle.nn.Conv2D(1, 8, 3, padding=1), paddle.nn.ReLU(), paddle.nn.Conv2D(8, 8, 3, padding=1, groups=8)]
    program = save_layer(paddle.nn.Sequential(*layers), tmp_path / "depthwise")
    int8 = quantize_model(program, tiles, tmp_path / "int8").path
    assert [c.path.name for c in convert_model(int8, tmp_path, ["arm+int8"])] == ["depthwise.arm-int8.nb"]
    with pytest.raises(ConversionError, match="crash on grouped and depthwise convolutions; leave out x86"):
        convert_model(int8, tmp_path / "out", ["x86"])


def test_an_npu_that_misses_a_scale_is_told_how_to_get_it(quantized, tmp_path):
    with pytest.raises(ConversionError, match="no 8-bit scale; quantise transposed convolutions too"):
        run_opt(find_model(quantized.path), "verisilicon_timvx,arm", tmp_path, "int8")


def test_weights_alone_in_8_bits(exported, tmp_path):
    (made,) = convert_model(exported, tmp_path, ["x86"], "int8_weights")
    as_they_are = run_opt(find_model(exported), "x86", tmp_path)
    assert made.path.name == "tiny.x86.int8_weights.nb"
    assert made.path.stat().st_size < as_they_are.stat().st_size
    assert kernels(made) == {(k.target, k.precision) for k in read_nb_header(as_they_are).kernels}
    assert all(0 < parity.max_difference < 32 for parity in made.parity[1:])


def test_a_free_program_gives_one_file_a_size(free_program, tmp_path):
    made = convert_model(free_program, tmp_path, ["x86"], sizes_px=[64, 96, 64])
    assert [(c.path.name, c.tile_px) for c in made] == [("free.64.x86.nb", 64), ("free.96.x86.nb", 96)]
    assert all(c.agrees for c in made)


@pytest.mark.parametrize(
    ("size_px", "message"),
    [
        (96, r"input tile is fixed to \[1, 1, 64, 64\]; for tiles of 96 px export the model at that size"),
        (0, "size 0; allowed: 8 to 4096 px"),
        (5000, "size 5000"),
    ],
)
def test_a_size_the_program_cannot_take_is_refused(exported, tmp_path, size_px, message):
    with pytest.raises(ConversionError, match=message):
        convert_model(exported, tmp_path / "out", ["x86"], sizes_px=[64, size_px])
    assert not (tmp_path / "out").exists()


def test_a_size_the_network_cannot_compute_is_named(free_program, tmp_path):
    with pytest.raises(ConversionError, match=r"free\.pdmodel at 62 px: Paddle cannot run it"):
        convert_model(free_program, tmp_path / "out", ["x86"], sizes_px=[62])
    assert not (tmp_path / "out").exists()


def test_a_crash_of_opt_is_explained(tmp_path, save_layer):
    class Normed(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.conv = paddle.nn.Conv2D(1, 8, 3, padding=1)

        def forward(self, x):
            return paddle.nn.functional.layer_norm(self.conv(x), [16, 16])

    program = save_layer(Normed(), tmp_path / "model", side=16)
    with pytest.raises(ConversionError, match=r"opt crashed; known causes are .*layer_norm without weight"):
        convert_model(program, tmp_path / "out", ["arm"])


def test_parameters_of_another_model_make_no_file(exported, logits_program, tmp_path):
    (tmp_path / "mixed.pdmodel").write_bytes(exported.read_bytes())
    (tmp_path / "mixed.pdiparams").write_bytes(logits_program.with_suffix(".pdiparams").read_bytes()[:-4])
    with pytest.raises(ConversionError, match=r"mixed\.pdiparams: cut off or damaged"):
        convert_model(tmp_path / "mixed.pdmodel", tmp_path / "out", ["x86"])
