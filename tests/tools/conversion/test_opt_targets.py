import re

import pytest

from edge_runtime.inference.nb_file import KERNEL_TARGETS
from tools.errors import ConversionError
from tools.opt_targets import ALLOWED, OptFlags, choose_precision, file_name, opt_flags


def test_every_target_of_the_device_has_its_precisions():
    assert set(ALLOWED) == set(KERNEL_TARGETS)
    assert all(ALLOWED.values())


@pytest.mark.parametrize(
    ("target", "precision", "flags"),
    [
        ("x86", "fp32", OptFlags("x86,host,arm", otherwise="x86")),
        ("x86", "int8", OptFlags("x86")),
        ("x86", "int16_weights", OptFlags("x86,host,arm", weight_type="QUANT_INT16", otherwise="x86")),
        ("arm", "int8_weights", OptFlags("arm", weight_type="QUANT_INT8")),
        ("arm", "int16_weights", OptFlags("arm", weight_type="QUANT_INT16")),
        ("arm+fp16", "fp16", OptFlags("arm", fp16=True)),
        ("arm+int8", "int8", OptFlags("arm")),
        ("opencl,arm", "fp32", OptFlags("opencl,arm")),
        ("rockchip_npu,arm", "int8", OptFlags("rockchip_npu,arm")),
    ],
)
def test_flags(target, precision, flags):
    assert opt_flags(target, precision) == flags


@pytest.mark.parametrize(
    ("target", "quantized", "precision"),
    [("x86", False, "fp32"), ("arm", True, "int8"), ("arm+fp16", False, "fp16"), ("arm+int8", True, "int8")],
)
def test_target_and_program_choose_the_precision(target, quantized, precision):
    assert choose_precision(target, None, quantized, "m") == precision


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (("riscv", None, False), "target riscv; allowed: x86 arm "),
        (("x86", "fp16", False), "m: x86 takes precision fp32 or int8 or int8_weights or int16_weights, not fp16"),
        (("arm+fp16", None, True), "m: arm+fp16 takes precision fp16, not int8"),
        (("arm+int8", None, False), "m: is a float program; make the INT8 one first"),
        (("arm", "int8_weights", True), "m: is an INT8 program; for int8_weights give the float program"),
        (("rockchip_npu,arm", "int8_weights", False), "not int8_weights"),
    ],
)
def test_what_does_not_fit_is_refused(request_, message):
    with pytest.raises(ConversionError, match=re.escape(message)):
        choose_precision(*request_, "m")


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("unet", "x86", "fp32", None), "unet.x86.nb"),
        (("unet", "x86", "int8", 512), "unet.512.x86.int8.nb"),
        (("unet", "arm+fp16", "fp16", None), "unet.arm-fp16.nb"),
        (("unet", "opencl,arm", "fp32", None), "unet.opencl-arm.nb"),
        (("my net/ü 1", "arm", "int8_weights", None), "my-net-1.arm.int8_weights.nb"),
        (("..", "arm", "fp32", None), "model.arm.nb"),
    ],
)
def test_names_suit_every_file_system(parts, name):
    assert file_name(*parts) == name


def test_no_two_files_of_a_model_have_one_name():
    names = [file_name("m", target, precision) for target, allowed in ALLOWED.items() for precision in allowed]
    assert len(names) == len(set(names))
