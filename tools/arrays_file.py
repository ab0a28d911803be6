"""Arrays by name in an .npz file, read without unpickling; what damage can raise is known in one place."""

from __future__ import annotations

import io
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DAMAGED = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every array of the file. Raises OSError when it cannot be read, and one of `DAMAGED` when it is no whole .npz."""
    data = path.read_bytes()
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise ValueError("no .npz file")  # NumPy would advise to unpickle it
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except OSError as exc:
        raise ValueError(f"no .npz file: {exc}") from exc
