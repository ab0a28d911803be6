"""The configured camera, and what reads codes in its pictures.

Drivers are imported inside the functions that build them, so that each process loads only what it owns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_runtime.clock import SystemClock
from edge_runtime.config import Settings
from edge_runtime.config_camera import BeltCameraSettings, FolderCameraSettings, SyntheticCameraSettings

if TYPE_CHECKING:
    from edge_runtime.interfaces import Camera
    from edge_runtime.runtime.capture import CodeRule


def build_camera(settings: Settings) -> Camera:
    """The configured camera driver, not yet opened."""
    camera, clock = settings.camera, SystemClock()
    if isinstance(camera, SyntheticCameraSettings):
        from edge_runtime.camera.synthetic import SyntheticCamera

        return SyntheticCamera(
            (camera.height_px, camera.width_px),
            camera.seed,
            rate_hz=camera.rate_hz,
            clock=clock,
            distinct=camera.distinct,
            parts=camera.parts,
        )
    if isinstance(camera, FolderCameraSettings):
        from edge_runtime.camera.folder import FolderCamera

        return FolderCamera(camera.path, camera.rate_hz, camera.loop, clock)
    if isinstance(camera, BeltCameraSettings):
        from edge_runtime.camera.belt import BeltCamera

        return BeltCamera(camera.script, (camera.height_px, camera.width_px), camera.rate_hz, clock)
    from edge_runtime.camera.opencv import OpenCvCamera

    return OpenCvCamera(
        camera.source, camera.width_px, camera.height_px, camera.rate_hz, camera.exposure, camera.pixel_format, clock
    )


def build_code_rule(settings: Settings) -> CodeRule | None:
    from edge_runtime.runtime.capture import CodeRule
    from edge_runtime.vision.codes import CodeReader

    code = settings.recipe_code
    if code is None:
        return None
    xyxy_px = (code.x_px, code.y_px, code.x_px + code.width_px, code.y_px + code.height_px)
    return CodeRule(CodeReader(code.kind, xyxy_px), code.codes, code.unreadable == "keep")
