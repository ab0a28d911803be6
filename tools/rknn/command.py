"""`rknn`: a bundle's network for RK3588's NPU, its files and its report, in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tools.forms import RKNN_PYTHON
from tools.progress import progress_bar


def rknn(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, opt_models/NAME/VERSION, with a network for onnx.")],
    data: Annotated[Path, typer.Option(help="Data set whose defects and verdicts are compared.")],
    calibration: Annotated[Path, typer.Option(help="Tiles for INT8: .npz, .npy, or a folder of .npy (C, H, W).")],
    out: Annotated[Path, typer.Option(help="Folder for rknn.md, rknn.json, model.rknn and model.int8.rknn.")],
    pictures: Annotated[int, typer.Option(min=1, help="Pictures to compare; the simulator takes 0.1 s a tile.")] = 50,
    rknn_python: Annotated[Path, typer.Option(help="Interpreter that has rknn-toolkit2.")] = RKNN_PYTHON,
) -> None:
    """Convert for RK3588's NPU, hold its simulator against the float network, estimate the time on a board."""
    from tools.calibration import load_tiles
    from tools.rknn.conversion import Request
    from tools.rknn.examine import examine
    from tools.rknn.report import report_text

    request = Request(("rknn", "rknn+int8"), rknn_python, load_tiles(calibration))
    with progress_bar("comparing") as advance:
        report = examine(bundle, data, request, out, pictures, advance)
    Console().print(report_text(report), highlight=False, markup=False, soft_wrap=True)
    Console().print(str(out / "rknn.md"), highlight=False)
