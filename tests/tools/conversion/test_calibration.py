import re

import numpy as np
import pytest

from tools.calibration import check_tiles, load_tiles, stack_tiles
from tools.errors import CalibrationError
from tools.program_file import FLOAT32, Variable

WANTED = Variable("tile", FLOAT32, (-1, 2, 16, 16), persistable=False, holder=False)


def good_tiles(count=8):
    return np.random.default_rng(0).standard_normal((count, 2, 16, 16), np.float32)


def with_tile(index, values):
    tiles = good_tiles()
    tiles[index] = values
    return tiles


def test_tiles_come_alike_from_an_array_a_list_and_every_kind_of_file(tmp_path):
    tiles = good_tiles()
    np.savez(tmp_path / "tiles.npz", tiles)
    np.save(tmp_path / "tiles.npy", tiles)
    folder = tmp_path / "folder"
    folder.mkdir()
    for index, tile in enumerate(tiles):
        np.save(folder / f"{index}.npy", tile)
    loaded = [load_tiles(tmp_path / name) for name in ("tiles.npz", "tiles.npy", "folder")]
    for found in [*loaded, stack_tiles(tiles), stack_tiles(iter(tiles)), stack_tiles([tiles[:3], tiles[3:]])]:
        np.testing.assert_array_equal(found, tiles)
    check_tiles(tiles, WANTED)


def test_free_sides_take_any_size():
    check_tiles(good_tiles(), Variable("tile", FLOAT32, (1, 2, -1, -1), persistable=False, holder=False))


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        (good_tiles(7), "7 tiles; at least 8 are needed, because each layer's scale"),
        (good_tiles()[:, :1], r"tiles are [1, 16, 16] (C, H, W), the program's input tile takes [2, 16, 16]"),
        (good_tiles()[:, :, :8], "[2, 8, 16]"),
        (with_tile(3, np.nan), "tile 3 holds NaN or infinity"),
        (with_tile(7, np.inf), "tile 7 holds NaN or infinity"),
        (with_tile(2, 0.25), "tile 2 is constant"),
    ],
)
def test_tiles_that_teach_nothing_are_refused(tiles, message):
    with pytest.raises(CalibrationError, match=re.escape(message)):
        check_tiles(tiles, WANTED)


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        (good_tiles().astype(np.float64), "dtype float64; tiles are float32"),
        ((good_tiles() * 9).astype(np.uint8), "dtype uint8"),
        ([], "no tile"),
        ([good_tiles()[0], good_tiles()[0, :1]], "shapes [1, 16, 16], [2, 16, 16]"),
        (good_tiles()[0, 0], "shapes [16, 16]"),
    ],
)
def test_arrays_that_are_no_tiles_are_refused(tiles, message):
    with pytest.raises(CalibrationError, match=re.escape(message)):
        stack_tiles(tiles)


def test_files_that_are_no_tiles_are_refused(tmp_path):
    np.savez(tmp_path / "two.npz", a=good_tiles(), b=good_tiles())
    (tmp_path / "text.npy").write_text("0 1 2")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:900])
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "empty").mkdir()
    answers = {
        "two.npz": "holds 2 arrays",
        "text.npy": "not a NumPy file of numbers",
        "cut.npz": "not a NumPy file of numbers",
        "objects.npy": "not a NumPy file of numbers",
        "empty": "no .npy tiles",
        "missing.npz": "No such file",
    }
    for name, message in answers.items():
        with pytest.raises(CalibrationError, match=f"{re.escape(name)}: {message}"):
            load_tiles(tmp_path / name)
