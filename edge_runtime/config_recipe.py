"""Recipe files: what counts as a bad part, and how one of several recipes is selected."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edge_runtime import values
from edge_runtime.validation import StrictModel

MAX_SIDE_PX = 8192


class ClassRuleSettings(StrictModel):
    """Limits for one defect class. A defect below a minimum is ignored, one limit exceeded rejects the part."""

    min_score: float = Field(default=0.0, ge=0, le=1, description="A defect below is ignored")
    min_area_px: float = Field(default=0.0, ge=0, description="A smaller defect is ignored")
    min_area_mm2: float | None = Field(default=None, ge=0, description="A smaller defect is ignored")
    max_count: int = Field(default=0, ge=0, description="More defects than this reject")
    max_area_px: float | None = Field(default=None, ge=0, description="A larger defect rejects")
    max_area_mm2: float | None = Field(default=None, ge=0, description="A larger defect rejects")
    max_total_area_px: float | None = Field(default=None, ge=0, description="A larger sum of areas rejects")
    max_total_area_mm2: float | None = Field(default=None, ge=0, description="A larger sum of areas rejects")

    def value(self) -> values.ClassRule:
        return values.ClassRule(**self.model_dump())


Point = tuple[Annotated[float, Field(ge=0, le=MAX_SIDE_PX)], Annotated[float, Field(ge=0, le=MAX_SIDE_PX)]]
PolygonSettings = Annotated[tuple[Point, ...], Field(min_length=3, max_length=1000)]


class RecipeSettings(StrictModel):
    """What counts as a bad part."""

    name: str = Field(
        default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Stands in every record"
    )
    mm_per_px: float | None = Field(
        default=None, gt=0, le=100, description="Scale of the picture; limits in mm² need it"
    )
    join_px: int = Field(default=6, ge=0, le=256, description="Cells with fewer pixels between them are one defect")
    template: Path | None = Field(default=None, description="Defect-free picture, for a model that takes one")
    default_rule: ClassRuleSettings = Field(default=ClassRuleSettings(), description="For classes without a rule")
    rules: dict[str, ClassRuleSettings] = Field(default_factory=dict, description="By the class names of the bundle")
    include: tuple[PolygonSettings, ...] = Field(default=(), description="Where to look; unset: the whole picture")
    ignore: tuple[PolygonSettings, ...] = Field(default=(), description="Where not to look")

    @model_validator(mode="after")
    def _areas_have_a_scale(self) -> RecipeSettings:
        if self.mm_per_px is None:
            for name, rule in [("default_rule", self.default_rule), *self.rules.items()]:
                in_mm2 = [key for key, value in rule if key.endswith("_mm2") and value is not None]
                if in_mm2:
                    raise ValueError(f"{name}.{in_mm2[0]} needs mm_per_px, the scale of the picture")
        return self

    def value(self) -> values.Recipe:
        return values.Recipe(
            name=self.name,
            mm_per_px=self.mm_per_px,
            join_px=self.join_px,
            default_rule=self.default_rule.value(),
            rules={name: rule.value() for name, rule in self.rules.items()},
            include=self.include,
            ignore=self.ignore,
        )


RecipeNumber = Annotated[int, Field(ge=1, le=65_535)]


class NumberedRecipeSettings(StrictModel):
    """A recipe that can be selected by its number while the line runs. All are loaded at start."""

    recipe: RecipeSettings = Field(description="A recipe file, or a section with the keys of [recipe]")
    bundle: Path | None = Field(default=None, description="Folder of its model; unset: inspection.bundle")


RecipesSettings = Annotated[dict[RecipeNumber, NumberedRecipeSettings], Field(max_length=64)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
Corner = Annotated[int, Field(ge=0, le=MAX_SIDE_PX - 1)]


class RecipeCodeSettings(StrictModel):
    """The recipe is selected by a code in the picture, for its own part and those that follow, and by nothing else.

    A code that is not listed is never inspected (`unknown_code`).
    """

    kind: Literal["qr", "barcode"] = Field(description="barcode: EAN-8, EAN-13 or UPC-A")
    x_px: Corner = Field(description="Left edge of the region in which the code lies")
    y_px: Corner = Field(description="Its upper edge")
    width_px: Side = Field(description="Its width; the smaller, the faster the code is read")
    height_px: Side = Field(description="Its height")
    codes: dict[str, RecipeNumber] = Field(min_length=1, max_length=1000, description="Text of the code = recipe")
    unreadable: Literal["not_inspected", "keep"] = Field(
        default="not_inspected", description="Without a readable code; keep: the recipe of the last one"
    )
