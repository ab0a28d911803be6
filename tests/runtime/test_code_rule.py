"""What the code in a picture means for its part and the next ones."""

import numpy as np
import pytest

from edge_runtime.runtime.capture import CodeRule
from edge_runtime.vision.codes import CodeReader
from tests.vision.codes import picture, put, qr

NUMBERS = {"A": 1, "B": 2}


def rule(keep: bool) -> CodeRule:
    return CodeRule(CodeReader("qr", (0, 0, 400, 400)), NUMBERS, keep)


def showing(text: str | None) -> np.ndarray:
    return picture() if text is None else put(picture(), qr(text), 40, 60)


@pytest.mark.parametrize("keep", [False, True])
def test_a_listed_code_is_its_number_and_another_one_is_never_inspected(keep):
    here = rule(keep)
    assert [here.number(showing(text), 7) for text in ("B", "A", "X", "B")] == [
        (2, ""),
        (1, ""),
        (0, "unknown_code"),
        (2, ""),
    ]


def test_an_unreadable_code_is_not_inspected_or_leaves_the_number_as_it_is():
    assert rule(keep=False).number(showing(None), 7) == (0, "unreadable_code")
    here = rule(keep=True)
    assert here.number(showing(None), 7) == (7, ""), "before the first code, the number of the last run"
    assert here.number(showing("B"), 7) == (2, "")
    assert here.number(showing(None), 7) == (2, ""), "the last one that was read"
    assert here.number(showing("X"), 7) == (0, "unknown_code")
    assert here.number(showing(None), 7) == (0, "unknown_code"), "it may be another of the unknown ones"
    assert here.number(showing("A"), 7) == (1, "")
