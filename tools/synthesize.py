"""`synthesize`: made-up boards as a data set folder, in the same layout as photographed ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2

from edge_runtime.files import write_atomically
from edge_runtime.vision.boards import CLASS_NAMES, Board, BoardStyle, paint_board
from tools.errors import ToolError


def write_boards(folder: Path, seed: int, count: int, side_px: int, style: BoardStyle) -> None:
    """Paint boards 0 … count-1 of series `seed` into `folder`. Raises ToolError when it holds a data set already."""
    if (folder / "annotations.json").exists():
        raise ToolError(f"{folder}: holds a data set already; choose another folder")
    for plane in ("image", "mask", "template"):
        (folder / plane).mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        board = paint_board(seed, index, (side_px, side_px), style)
        name = f"board_{index:04d}.png"
        grey = cv2.cvtColor(board.image, cv2.COLOR_BGR2GRAY)
        planes = {"image": grey, "mask": board.mask, "template": board.template}
        for plane, pixels in planes.items():
            _write_png(folder / plane / name, pixels)
        images.append(_image_entry(index, name, side_px))
        annotations += _annotations(index, board, len(annotations))
    categories = [{"id": class_id, "name": name} for class_id, name in sorted(CLASS_NAMES.items())]
    labels = {"categories": categories, "images": images, "annotations": annotations}
    write_atomically(folder / "annotations.json", json.dumps(labels).encode() + b"\n")


def _image_entry(index: int, name: str, side_px: int) -> dict[str, Any]:
    files = {"file_name": f"image/{name}", "mask": f"mask/{name}", "template": f"template/{name}"}
    return {"id": index, **files, "width": side_px, "height": side_px}


def _annotations(index: int, board: Board, first_id: int) -> list[dict[str, Any]]:
    boxes = [(defect.class_id, *defect.xyxy_px) for defect in board.defects]
    return [
        {"id": first_id + i, "image_id": index, "category_id": class_id, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        for i, (class_id, x0, y0, x1, y1) in enumerate(boxes)
    ]


def _write_png(path: Path, pixels: Any) -> None:
    done, encoded = cv2.imencode(".png", pixels)
    if not done:
        raise ToolError(f"{path}: could not be encoded as PNG")
    write_atomically(path, encoded.tobytes())
