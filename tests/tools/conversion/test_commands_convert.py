import numpy as np
import pytest
from typer.testing import CliRunner

from tools.__main__ import build_app
from tools.commands_convert import describe_converted
from tools.convert import Converted, Parity
from tools.errors import CalibrationError, ConversionError


def run(*arguments):
    """The output of one command, its expected errors raised."""
    done = CliRunner().invoke(build_app(arguments[0]), list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_quantize_and_convert_lead_from_a_program_to_a_device_file(exported, tiles, tmp_path):
    np.savez(tmp_path / "tiles.npz", tiles)
    said = run("quantize", exported, "--calibration", tmp_path / "tiles.npz", "--out", tmp_path / "int8")
    assert "most harmful of 4 layers" in said
    run("convert", tmp_path / "int8" / "tiny.pdmodel", "--out", tmp_path / "nb", "--target", "arm+int8")
    assert [path.name for path in (tmp_path / "nb").iterdir()] == ["tiny.arm-int8.nb"]


def test_wrong_input_is_an_expected_error(exported, tiles, tmp_path):
    np.savez(tmp_path / "few.npz", tiles[:3])
    with pytest.raises(CalibrationError, match="3 tiles; at least 8"):
        run("quantize", exported, "--calibration", tmp_path / "few.npz", "--out", tmp_path / "int8")
    with pytest.raises(ConversionError, match="takes precision"):
        run("convert", exported, "--out", tmp_path, "--target", "arm+fp16", "--precision", "fp32")


@pytest.mark.parametrize(
    ("parity", "agrees", "said"),
    [
        (None, True, "not run here"),
        ((Parity(0.0, 0.0), Parity(0.25, 0.5)), True, "equals Paddle within 0.25"),
        (
            (Parity(9.0, 0.5),),
            False,
            "differs from Paddle by up to 9, as 8-bit arithmetic on x86 does; judge it on the device",
        ),
    ],
)
def test_what_is_said_of_a_file(tmp_path, parity, agrees, said):
    path = tmp_path / "m.x86.nb"
    path.write_bytes(bytes(1234))
    line = describe_converted(Converted(path, "x86", "v2.13-rc", parity, "int8", None, agrees))
    assert line == f"{path}: 1,234 bytes, int8, opt v2.13-rc, {said}"
