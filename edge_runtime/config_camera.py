"""Settings of the cameras, one section for each driver."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edge_runtime.config_recipe import MAX_SIDE_PX
from edge_runtime.validation import StrictModel


class SyntheticCameraSettings(StrictModel):
    """An endless, seeded line of painted boards."""

    driver: Literal["synthetic"]
    width_px: int = Field(default=2048, ge=64, le=MAX_SIDE_PX, description="Width of a board")
    height_px: int = Field(default=2048, ge=64, le=MAX_SIDE_PX, description="Height of a board")
    seed: int = Field(default=1, ge=0, description="The same seed paints the same boards")
    rate_hz: float | None = Field(default=None, gt=0, le=1000, description="In free run; unset: as fast as asked")
    distinct: int = Field(default=0, ge=0, le=1000, description="Show this many boards over and over; 0: each is new")
    parts: int | None = Field(default=None, ge=1, description="Boards until the source is used up; unset: endless")


class FolderCameraSettings(StrictModel):
    """Pictures from disk. The largest has at most `width_px` × `height_px` pixels."""

    driver: Literal["folder"]
    path: Path = Field(description="Folder, one picture, or a video file")
    width_px: int = Field(default=2048, ge=1, le=MAX_SIDE_PX, description="Widest picture")
    height_px: int = Field(default=2048, ge=1, le=MAX_SIDE_PX, description="Highest picture")
    rate_hz: float | None = Field(default=None, gt=0, le=1000, description="In free run; unset: as fast as asked")
    loop: bool = Field(default=False, description="Start over after the last picture")


class BeltCameraSettings(StrictModel):
    """What lies on a simulated belt (`edge-runtime simulate`), for the scripted backend."""

    driver: Literal["belt"]
    script: Path = Field(description="File that says what is in view when; an empty belt until it is there")
    width_px: int = Field(default=256, ge=64, le=MAX_SIDE_PX, description="Width of a picture")
    height_px: int = Field(default=256, ge=64, le=MAX_SIDE_PX, description="Height of a picture")
    rate_hz: float = Field(default=200, gt=0, le=1000, description="Exposures a second")


class OpenCvCameraSettings(StrictModel):
    """A V4L2 device, an RTSP or HTTP address, or a GStreamer pipeline (`gst:…`)."""

    driver: Literal["opencv"]
    source: str = Field(min_length=1, max_length=2048, description="Device, address, gst:PIPELINE or video file")
    width_px: int = Field(default=1920, ge=1, le=MAX_SIDE_PX, description="Width; the source must give it")
    height_px: int = Field(default=1080, ge=1, le=MAX_SIDE_PX, description="Height; the source must give it")
    rate_hz: float | None = Field(default=None, gt=0, le=1000, description="V4L2 only: frame rate to ask for")
    exposure: float | None = Field(default=None, description="V4L2 only: fixed, in the driver's unit")
    pixel_format: str | None = Field(default=None, pattern=r"^[A-Z0-9]{4}$", description="V4L2: such as MJPG")


CameraSettings = Annotated[
    SyntheticCameraSettings | FolderCameraSettings | BeltCameraSettings | OpenCvCameraSettings,
    Field(discriminator="driver"),
]
