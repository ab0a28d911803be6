"""A part's recipe is the one that was selected at the moment of its trigger, and nothing is ever selected by itself."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.interfaces import RECIPE_BITS, Edge, Input
from edge_runtime.runtime.events import RecipeAsked
from edge_runtime.runtime.recipe_inputs import RecipeInputs
from edge_runtime.runtime.recipes import NO_RECIPE, REMEMBERED_SELECTIONS, RecipeBook, RecipeFacts, number_at_start

RECIPES = tuple(RecipeFacts(number, f"recipe-{number}", "model", f"{number:08x}") for number in (1, 2, 7))
SETTLE_NS = 50
STRANGE = 5
NUMBERS = st.sampled_from([1, 2, 7, STRANGE, 0])


@given(st.lists(st.tuples(NUMBERS, st.integers(0, 100)), max_size=40), st.integers(0, 120))
def test_a_part_gets_the_recipe_that_was_selected_when_it_was_triggered(selections, at_ns):
    book = RecipeBook(RECIPES, 2)
    latest_ns, wanted = 0, 2
    for number, since_ns in selections:
        book.select(number, since_ns)
        latest_ns = max(latest_ns, since_ns) if book.get(number).number != book.at(latest_ns).number else latest_ns
    moments = sorted({0, at_ns, *(since_ns for _, since_ns in selections)})
    assert [book.at(moment).number for moment in moments if moment >= max(moments)] == [book.selected.number]
    for number, since_ns in selections:
        if since_ns <= at_ns:
            wanted = number
    rising = [since_ns for _, since_ns in selections] == sorted(since_ns for _, since_ns in selections)
    if rising:
        assert book.at(at_ns).number == (wanted if wanted in book else 0)


def test_a_selection_that_is_dated_back_never_comes_before_the_last_one():
    book = RecipeBook(RECIPES, 1)
    book.select(2, 100)
    book.select(7, 50)
    assert [book.at(at_ns).number for at_ns in (49, 99, 100)] == [1, 1, 7]


def test_the_same_number_again_uses_up_no_memory():
    book = RecipeBook(RECIPES, 1)
    book.select(2, 10)
    for at_ns in range(11, 11 + 2 * REMEMBERED_SELECTIONS):
        book.select(2, at_ns)
    assert (book.at(9).number, book.at(10).number) == (1, 2)


def test_a_number_that_is_not_known_is_no_recipe():
    book = RecipeBook(RECIPES, STRANGE)
    assert book.selected is NO_RECIPE
    assert STRANGE not in book
    assert 7 in book


@pytest.mark.parametrize(
    ("known", "kept", "number"),
    [((1, 2), 2, 2), ((1, 2), 3, 0), ((1, 2), 0, 0), ((1, 2), None, 0), ((4,), None, 4), ((4,), 1, 0)],
)
def test_at_start_the_kept_number_counts_and_nothing_takes_its_place(known, kept, number):
    assert number_at_start(known, kept) == number


# -- the code on input lines ------------------------------------------------------------------------------------


class Wires:
    """Input lines with levels, and what is asked when they move."""

    def __init__(self, has_strobe: bool) -> None:
        self.inputs = RecipeInputs(RECIPE_BITS[:3], has_strobe, SETTLE_NS)
        self.active: set[Input] = set()

    def level(self, name: Input) -> bool:
        return name in self.active

    def show(self, number: int, at_ns: int) -> list[RecipeAsked]:
        asked: list[RecipeAsked] = []
        wanted = {bit for place, bit in enumerate(RECIPE_BITS[:3]) if number >> place & 1}
        for bit in sorted(wanted ^ self.active):
            self.active ^= {bit}
            asked += self.inputs.edge(Edge(bit, at_ns, 1, bit in self.active), self.level)
        return asked

    def strobe(self, at_ns: int, active: bool = True) -> list[RecipeAsked]:
        return self.inputs.edge(Edge(Input.RECIPE_STROBE, at_ns, 1, active), self.level)


def asked(numbers_and_times: Iterable[tuple[int, int]]) -> list[RecipeAsked]:
    return [RecipeAsked(number, "gpio", at_ns) for number, at_ns in numbers_and_times]


@given(st.lists(st.integers(0, 7), max_size=10))
def test_with_a_strobe_only_the_strobe_asks_and_for_the_code_that_stands_then(numbers):
    wires = Wires(has_strobe=True)
    wires.inputs.opened(0)
    for at_ns, number in enumerate(numbers):
        assert wires.show(number, at_ns) == []
        assert wires.inputs.settled(at_ns + 10 * SETTLE_NS, wires.level) == []
        assert wires.strobe(at_ns) == asked([(number, at_ns)])
        assert wires.strobe(at_ns, active=False) == []
    assert wires.inputs.next_wake_ns() is None


def test_without_a_strobe_a_code_is_asked_once_when_it_has_stood_still():
    wires = Wires(has_strobe=False)
    assert wires.show(3, 10) == []
    assert wires.show(5, 40) == []
    assert wires.inputs.next_wake_ns() == 40 + SETTLE_NS
    assert wires.inputs.settled(40 + SETTLE_NS - 1, wires.level) == []
    assert wires.inputs.settled(40 + SETTLE_NS + 3, wires.level) == asked([(5, 40 + SETTLE_NS)])
    assert wires.inputs.settled(1000, wires.level) == []


def test_without_a_strobe_what_stands_on_the_lines_when_they_are_opened_is_asked():
    wires = Wires(has_strobe=False)
    wires.active = {RECIPE_BITS[1]}
    wires.inputs.opened(100)
    assert wires.inputs.settled(100 + SETTLE_NS, wires.level) == asked([(2, 100 + SETTLE_NS)])
