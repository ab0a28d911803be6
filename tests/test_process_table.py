"""The process table: what each child is given."""

from pathlib import Path

import pytest

from edge_runtime.config import Settings
from edge_runtime.config_camera import SyntheticCameraSettings
from edge_runtime.config_inspection import InspectionSettings
from edge_runtime.process_table import worker_specs


@pytest.mark.parametrize(("backend", "start_timeout_ms"), [("paddle_lite", 10_000), ("auto", 16_000)])
def test_what_auto_may_measure_comes_on_top_of_the_time_to_start(backend, start_timeout_ms):
    inspection = InspectionSettings(bundle=Path("a"), backend=backend, workers=2, start_timeout_ms=10_000)
    settings = Settings(camera=SyntheticCameraSettings(driver="synthetic"), inspection=inspection)
    specs = worker_specs(settings, first_index=5)
    assert [(spec.index, spec.start_timeout_ms) for spec in specs] == [(5, start_timeout_ms), (6, start_timeout_ms)]
