import os
import time

import pytest

from tools.errors import ToolError
from tools.evaluation.processes import map_in_processes


def test_answers_come_in_order():
    numbers = list(range(-20, 0))
    assert list(map_in_processes(abs, numbers, 2, str)) == [20 - n for n in range(20)]


def test_nothing_to_do_is_done():
    assert list(map_in_processes(abs, [], 2, str)) == []


def test_an_error_is_raised_here():
    with pytest.raises(ValueError, match="invalid literal"):
        list(map_in_processes(int, ["1", "x"], 1, str))


def test_a_process_that_dies_is_an_error_that_names_the_item():
    with pytest.raises(ToolError, match=r"died or hung at one of: picture 3;"):
        list(map_in_processes(os._exit, [3], 1, "picture {}".format))


def test_a_process_that_hangs_is_an_error():
    with pytest.raises(ToolError, match="died or hung"):
        list(map_in_processes(time.sleep, [3600], 1, str, limit_s=0.2))
