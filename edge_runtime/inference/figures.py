"""What the workstation measured of a bundle, as its manifest tells it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edge_runtime.validation import StrictModel

Label = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Count = Annotated[int, Field(strict=True, ge=0)]
Number = Annotated[float, Field(strict=True)]
Measures = Annotated[dict[Label, Number], Field(min_length=1, max_length=32)]


class Parity(StrictModel):
    """How near `subject` (an artefact's file) comes to `reference` over `tiles` tiles."""

    subject: Text
    reference: Text
    tiles: Count
    values: Measures


class Accuracy(StrictModel):
    """How good `subject` is on the pictures of a named data set."""

    subject: Text
    data_set: Text
    pictures: Count
    values: Measures


class Timing(StrictModel):
    """How fast `subject` runs on a named machine; the measures' names carry their units."""

    subject: Text
    machine: Text
    threads: Count
    values: Measures


class Figures(StrictModel):
    """What the workstation measured."""

    parameters: Count
    macs_per_tile: Count
    parity: Annotated[tuple[Parity, ...], Field(max_length=32)] = ()
    accuracy: Annotated[tuple[Accuracy, ...], Field(max_length=32)] = ()
    timing: Annotated[tuple[Timing, ...], Field(max_length=32)] = ()
