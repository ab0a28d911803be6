"""The sides of tiles that a tune may choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_runtime.config import Settings
from edge_runtime.engines import Tiles, target_of, tiles_in_use, tiles_worth_trying
from edge_runtime.inference.bundle import Bundle
from edge_runtime.tuning.setups import Setup
from edge_runtime.tuning.stand import with_setup
from edge_runtime.values import Recipe

OTHERS_MOST = 3
COST_TIMES_MOST = 1.5


@dataclass(frozen=True)
class Work:
    """What the workers of a set-up do: each recipe with its bundle, the first one being measured."""

    settings: Settings
    recipes: Sequence[tuple[Bundle, Recipe]]

    def tiles(self, setup: Setup) -> Tiles:
        """Those of the recipe that is measured. Raises BundleError."""
        return self._tiles_of_recipes(setup)[0]

    def other_sides(self, setup: Setup) -> list[Setup]:
        """The set-up with each other side that is worth a measurement: one for a number of tiles, the likeliest first.

        None where the recipes' own sides differ, since `inspection.tile_px` is for all. Raises BundleError.
        """
        automatic = replace(setup, tile_px=None)
        own = self._tiles_of_recipes(automatic)
        if len({tiles.side_px for tiles in own}) > 1:
            return []
        bundle, recipe = self.recipes[0]
        inspection = with_setup(self.settings, automatic).inspection
        ranked = tiles_worth_trying(inspection, bundle, recipe, self._image_hw)
        offered = [each.tile_sides_px(target_of(inspection)) for each, _ in self.recipes]
        sides_px = [
            tiles.side_px
            for tiles in ranked
            if tiles.cost <= COST_TIMES_MOST * ranked[0].cost and all(tiles.side_px in sides for sides in offered)
        ]
        now_px = self.tiles(setup).side_px
        others = [automatic if side_px == own[0].side_px else replace(setup, tile_px=side_px) for side_px in sides_px]
        others = [each for each in dict.fromkeys([automatic, *others]) if self.tiles(each).side_px != now_px]
        return others[:OTHERS_MOST]

    def _tiles_of_recipes(self, setup: Setup) -> list[Tiles]:
        inspection = with_setup(self.settings, setup).inspection
        return [tiles_in_use(inspection, bundle, recipe, self._image_hw) for bundle, recipe in self.recipes]

    @property
    def _image_hw(self) -> tuple[int, int]:
        return self.settings.camera.height_px, self.settings.camera.width_px
