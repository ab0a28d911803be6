import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.errors import ConversionError
from tools.model_files import find_model
from tools.program_file import check_parameters, parse_program


@pytest.fixture(scope="module")
def program_bytes(exported):
    return exported.read_bytes()


@pytest.fixture(scope="module")
def params_bytes(exported):
    return exported.with_suffix(".pdiparams").read_bytes()


def test_the_graph_is_read(program_bytes):
    program = parse_program(program_bytes, "tiny")
    assert [(v.name, v.dims) for v in program.inputs()] == [("tile", (1, 1, 64, 64))]
    assert len(program.outputs()) == 2
    assert {"conv2d", "batch_norm", "conv2d_transpose", "softmax", "arg_max"} <= {op.kind for op in program.ops}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_cut_program_is_refused_unless_the_whole_graph_is_there(program_bytes, share):
    cut = program_bytes[: int(share * len(program_bytes))]
    try:
        program = parse_program(cut, "cut")
    except ConversionError:
        return
    assert program == parse_program(program_bytes, "whole")


@pytest.mark.parametrize("missing", [1, 5, 400, 5000, 100_000])
def test_no_cut_near_the_end_loses_the_graph_silently(program_bytes, missing):
    cut = program_bytes[:-missing]
    try:
        assert parse_program(cut, "cut") == parse_program(program_bytes, "whole")
    except ConversionError as exc:
        assert "copy or export it again" in str(exc)  # noqa: PT017


@given(st.binary(min_size=1, max_size=300))
def test_chance_bytes_are_refused_in_words(data):
    with pytest.raises(ConversionError):
        parse_program(data, "noise")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b'{"base_code":{"magic":"pir","trainable":false}}', "FLAGS_enable_pir_api=0"),
        (b'{"layers": []}', "not a Paddle program"),
        (b"import paddle\n", "not a whole Paddle program"),
    ],
)
def test_other_formats_are_named(data, message):
    with pytest.raises(ConversionError, match=message):
        parse_program(data, "model")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(share=st.floats(0, 1, exclude_max=True))
def test_cut_parameters_are_refused(program_bytes, params_bytes, share):
    with pytest.raises(ConversionError, match="damaged"):
        check_parameters(parse_program(program_bytes, "p"), params_bytes[: int(share * len(params_bytes))], "cut")


def test_parameters_with_a_tail_are_refused(program_bytes, params_bytes):
    with pytest.raises(ConversionError, match="3 bytes too many"):
        check_parameters(parse_program(program_bytes, "p"), params_bytes + b"abc", "long")


def test_a_model_is_found_by_any_of_its_names(exported, tmp_path):
    expected = find_model(exported).program
    assert find_model(exported.with_suffix(".pdiparams")).program == expected
    assert find_model(exported.parent).program == expected
    old = tmp_path / "old"
    old.mkdir()
    (old / "__model__").write_bytes(exported.read_bytes())
    (old / "__params__").write_bytes(exported.with_suffix(".pdiparams").read_bytes())
    assert [find_model(old).name, find_model(old / "__params__").name] == ["old", "old"]


def test_a_folder_without_one_model_says_what_it_found(tmp_path):
    with pytest.raises(ConversionError, match="found none"):
        find_model(tmp_path)
    (tmp_path / "a.pdmodel").touch()
    (tmp_path / "b.pdmodel").touch()
    with pytest.raises(ConversionError, match=r"a\.pdmodel, b\.pdmodel"):
        find_model(tmp_path)


def test_missing_parameters_are_named(exported, tmp_path):
    alone = tmp_path / "alone.pdmodel"
    alone.write_bytes(exported.read_bytes())
    with pytest.raises(ConversionError, match=r"alone\.pdiparams"):
        find_model(alone)
