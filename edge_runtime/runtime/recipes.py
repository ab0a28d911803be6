"""Which recipe a part gets: the preloaded ones, and what was selected when. Pure: time is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

REMEMBERED_SELECTIONS = 64


@dataclass(frozen=True)
class RecipeFacts:
    """What the line knows of a preloaded recipe.

    `digest` names recipe, template and model together; `class_names` are those of the recipe's own model.
    """

    number: int
    name: str
    model_id: str
    digest: str
    class_names: Mapping[int, str] = field(default_factory=dict)
    mm_per_px: float | None = None


NO_RECIPE = RecipeFacts(0, "", "", "")
"""Nothing is selected: its parts are not inspected."""


class RecipeBook:
    """The preloaded recipes and the last selections. One thread owns it."""

    def __init__(self, recipes: Iterable[RecipeFacts], selected: int = 0) -> None:
        self._by_number: Mapping[int, RecipeFacts] = {recipe.number: recipe for recipe in recipes}
        self._selections = deque([(0, self.get(selected))], maxlen=REMEMBERED_SELECTIONS)

    def __contains__(self, number: int) -> bool:
        return number in self._by_number

    @property
    def known(self) -> Mapping[int, RecipeFacts]:
        """All recipes by number, as they are now: the mapping itself never changes."""
        return self._by_number

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(self._by_number)

    def get(self, number: int) -> RecipeFacts:
        """The recipe of this number, NO_RECIPE for one that is not known."""
        return self._by_number.get(number, NO_RECIPE)

    @property
    def selected(self) -> RecipeFacts:
        """The recipe of the next part."""
        return self._selections[-1][1]

    def select(self, number: int, at_ns: int) -> None:
        """Parts triggered from `at_ns` (monotonic) on get this recipe; a selection never comes before the last one."""
        recipe, last_ns = self.get(number), self._selections[-1][0]
        if recipe is not self.selected:
            self._selections.append((max(at_ns, last_ns), recipe))

    def replace(self, recipes: Iterable[RecipeFacts], selected: int) -> None:
        """Other recipes from now on, whenever a part was triggered; what was selected before is seen in them."""
        self._by_number = {recipe.number: recipe for recipe in recipes}
        past = [(since_ns, self.get(recipe.number)) for since_ns, recipe in self._selections]
        self._selections = deque([*past[:-1], (past[-1][0], self.get(selected))], maxlen=REMEMBERED_SELECTIONS)

    def at(self, at_ns: int) -> RecipeFacts:
        """The recipe of a part triggered at `at_ns`, which may lie before the last selections."""
        for since_ns, recipe in reversed(self._selections):
            if since_ns <= at_ns:
                return recipe
        return self._selections[0][1]


def number_at_start(known: Collection[int], kept: int | None) -> int:
    """The number kept from the last run where it is still known; the only recipe where none was ever kept; else 0."""
    if kept is None:
        return next(iter(known)) if len(known) == 1 else 0
    return kept if kept in known else 0
