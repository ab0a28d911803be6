"""The code on a part, read in its picture."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import cv2

from edge_runtime.pictures import grey_of

if TYPE_CHECKING:
    from edge_runtime.values import Box, ImageU8

log = logging.getLogger(__name__)
CodeKind = Literal["qr", "barcode"]


class CodeReader:
    """Reads QR codes or barcodes (EAN-8, EAN-13, UPC-A) within `xyxy_px`, half-open. One thread owns it."""

    def __init__(self, kind: CodeKind, xyxy_px: Box) -> None:
        self._xyxy_px = xyxy_px
        self._decode = _qr_decoder() if kind == "qr" else _barcode_decoder()

    def read(self, picture: ImageU8) -> str | None:
        """The code's text in a BGR picture (H, W, 3); None where there is none or where several differ."""
        x0, y0, x1, y1 = self._xyxy_px
        region = picture[y0:y1, x0:x1]
        if 0 in region.shape:
            return None
        try:
            texts = {text for text in self._decode(grey_of(region)) if text}
        except (cv2.error, UnicodeDecodeError) as exc:
            log.warning("the code cannot be read: %s", exc)
            return None
        return texts.pop() if len(texts) == 1 else None


def _qr_decoder() -> Callable[[ImageU8], Sequence[str]]:
    detector = cv2.QRCodeDetector()
    return lambda grey: detector.detectAndDecodeMulti(grey)[1]


def _barcode_decoder() -> Callable[[ImageU8], Sequence[str]]:
    detector = cv2.barcode.BarcodeDetector()
    return lambda grey: detector.detectAndDecodeMulti(grey)[1]
