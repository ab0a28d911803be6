"""Pictures with codes: QR codes by OpenCV's encoder, EAN-13 bars painted here."""

import cv2
import numpy as np

LEFT = ("0001101", "0011001", "0010011", "0111101", "0100011", "0110001", "0101111", "0111011", "0110111", "0001011")
PARITIES = ("LLLLLL", "LLGLGG", "LLGGLG", "LLGGGL", "LGLLGG", "LGGLLG", "LGGGLL", "LGLGLG", "LGLGGL", "LGGLGL")
GREY = 120


def picture(side_px: int = 400) -> np.ndarray:
    return np.full((side_px, side_px, 3), GREY, np.uint8)


def put(image: np.ndarray, code: np.ndarray, x: int, y: int) -> np.ndarray:
    """A grey code, in the picture."""
    image[y : y + code.shape[0], x : x + code.shape[1]] = code[..., None]
    return image


def qr(text: str, module_px: int = 5) -> np.ndarray:
    """With its quiet zone."""
    code = cv2.QRCodeEncoder.create().encode(text)
    return cv2.resize(code, None, fx=module_px, fy=module_px, interpolation=cv2.INTER_NEAREST)


def ean13(digits: str, module_px: int = 2, height_px: int = 80) -> np.ndarray:
    """Twelve digits and their check digit as bars with quiet zones."""
    digits += str(-sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits)) % 10)
    bars = "101"
    for parity, digit in zip(PARITIES[int(digits[0])], digits[1:7], strict=True):
        left = LEFT[int(digit)]
        bars += left if parity == "L" else _inverted(left)[::-1]
    bars += "01010" + "".join(_inverted(LEFT[int(digit)]) for digit in digits[7:]) + "101"
    line = np.array([0 if bar == "1" else 255 for bar in f"{'0' * 12}{bars}{'0' * 12}"], np.uint8)
    code = np.repeat(line, module_px)[None].repeat(height_px, axis=0)
    return cv2.copyMakeBorder(code, 12, 12, 0, 0, cv2.BORDER_CONSTANT, value=255)


def _inverted(bars: str) -> str:
    return bars.translate(str.maketrans("01", "10"))
