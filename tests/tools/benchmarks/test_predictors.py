"""A predictor that cannot be had is told, not waited for."""

from pathlib import Path

import pytest

from tools.benchmarks.frames import made_frame
from tools.benchmarks.predictors import Predictors
from tools.errors import ToolError


def test_a_process_that_ends_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    predictors = Predictors(tmp_path / "gone", made_frame(64, False), 1, "paddle_lite")
    with pytest.raises(ToolError, match="has ended; its last words stand above"), predictors:
        pass
    assert "gone" in capfd.readouterr().err
