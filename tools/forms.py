"""The choices that commands offer and modules act on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

InputForm = Literal["float32", "uint8"]
OutputForm = Literal["class_and_score", "score", "probabilities"]
ThresholdsBy = Literal["boxes", "cells"]
Motif = Literal["boards", "scans", "cells"]
PRIOR_SHIFT = 4.0
# Two of the largest cover 2048 px at the widest margin of the shipped bundles, 112.
TILE_RANGE_PX = (256, 1136)
RKNN_PYTHON = Path(".venv-rknn/bin/python")
