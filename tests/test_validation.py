"""pydantic's errors become one line that names the key, the problem and what is allowed."""

from typing import Literal

import pytest
from pydantic import Field, ValidationError

from edge_runtime.validation import StrictModel, describe


class Wheel(StrictModel):
    size_px: int = Field(ge=1, le=9)


class Cart(StrictModel):
    colour: Literal["red", "blue"] = "red"
    wheels: tuple[Wheel, ...] = Field(default=(), min_length=1)
    load: float = Field(default=0.0, alias="load_kg")


def problem(raw):
    with pytest.raises(ValidationError) as caught:
        Cart.model_validate(raw)
    return describe(caught.value)


def test_a_good_section_is_frozen():
    cart = Cart.model_validate({"wheels": [{"size_px": 3}], "load_kg": 2})
    assert (cart.wheels[0].size_px, cart.load) == (3, 2.0)
    with pytest.raises(ValidationError, match="frozen"):
        cart.colour = "blue"


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({"color": "red"}, "unknown key 'color'; did you mean 'colour'? allowed: colour, wheels, load_kg"),
        ({"xyz": 1}, "unknown key 'xyz'; allowed: colour, wheels, load_kg"),
        ({"wheels": [{"sizepx": 1}]}, "wheels[0]: unknown key 'sizepx'; did you mean 'size_px'? allowed: size_px"),
        ({"colour": "green"}, "colour: must be 'red' or 'blue', not 'green'"),
        ({"wheels": [{"size_px": 3}, {"size_px": 10}]}, "wheels[1].size_px: must be less than or equal to 9, not 10"),
        ({"wheels": [{"size_px": 0}]}, "wheels[0].size_px: must be greater than or equal to 1, not 0"),
        ({"wheels": []}, "wheels: must have at least 1 item after validation, not 0"),
        ({"wheels": [{}]}, "wheels[0].size_px: this key is missing"),
        ({"load_kg": float("inf")}, "load_kg: must be a finite number, not inf"),
    ],
)
def test_each_problem_is_one_line_with_the_key_path(raw, line):
    assert problem(raw) == line


def test_problems_are_listed_together_up_to_a_limit():
    line = problem({"colour": 1, "wheels": [{"size_px": 0}] * 9})
    assert line.count("; ") == 5
    assert line.endswith("; and 5 more")


def test_long_values_are_shortened():
    assert len(problem({"colour": "x" * 10_000})) < 150
    assert len(problem({"k" * 10_000: 1})) < 150
