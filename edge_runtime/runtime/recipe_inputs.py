"""A recipe's number as a binary code on input lines. Pure: edges and levels in, events out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_runtime.interfaces import RECIPE_BITS, Edge, Input
from edge_runtime.runtime.events import RecipeAsked

Level = Callable[[Input], bool]


class RecipeInputs:
    """Latches the code at the strobe or, without one, once no line of it has moved for `settle_ns`.

    `level` tells whether a line is active now. One thread owns it.
    """

    def __init__(self, bits: Sequence[Input], has_strobe: bool, settle_ns: int) -> None:
        self._bits = bits
        self._has_strobe = has_strobe
        self._settle_ns = settle_ns
        self._settled_at_ns: int | None = None

    def opened(self, now_ns: int) -> None:
        """The lines can be read: without a strobe, what stands there is asked for."""
        if not self._has_strobe:
            self._settled_at_ns = now_ns + self._settle_ns

    def edge(self, edge: Edge, level: Level) -> list[RecipeAsked]:
        """A line has changed."""
        if edge.name is Input.RECIPE_STROBE and edge.active:
            return [self._asked(edge.at_ns, level)]
        if edge.name in self._bits:
            self.opened(edge.at_ns)
        return []

    def settled(self, now_ns: int, level: Level) -> list[RecipeAsked]:
        """What is asked by a code that has stood long enough, once."""
        if self._settled_at_ns is None or now_ns < self._settled_at_ns:
            return []
        at_ns, self._settled_at_ns = self._settled_at_ns, None
        return [self._asked(at_ns, level)]

    def next_wake_ns(self) -> int | None:
        """When `settled` has something to say."""
        return self._settled_at_ns

    def _asked(self, at_ns: int, level: Level) -> RecipeAsked:
        number = sum(1 << RECIPE_BITS.index(bit) for bit in self._bits if level(bit))
        return RecipeAsked(number, "gpio", at_ns)
