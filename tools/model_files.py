"""Finding a Paddle model on disk and proving that it is whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tools.errors import ConversionError
from tools.program_file import Program, check_parameters, parse_program

OLD_NAMES = ("__model__", "__params__")


@dataclass(frozen=True)
class ModelFiles:
    """A program and its combined parameter file, both read and proved whole; `where` names it in messages."""

    name: str
    program_path: Path
    params_path: Path
    program: Program
    where: str


def find_model(path: Path) -> ModelFiles:
    """The model at `path`: a .pdmodel or .pdiparams file, `__model__`, `__params__`, or a folder with one of them.

    Raises ConversionError for anything else, before native code sees it.
    """
    program_path = _program_in(path) if path.is_dir() else _program_for(path)
    params_path = _params_for(program_path)
    program = parse_program(_read(program_path), str(program_path))
    check_parameters(program, _read(params_path), str(params_path))
    name = program_path.parent.name if program_path.name == OLD_NAMES[0] else program_path.stem
    return ModelFiles(name, program_path, params_path, program, str(program_path))


def _program_in(folder: Path) -> Path:
    found = sorted([*folder.glob("*.pdmodel"), *folder.glob(OLD_NAMES[0])]) or sorted(folder.glob("*.json"))
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise ConversionError(
            f"{folder}: needs exactly one .pdmodel or __model__, found {listed}; name the file itself"
        )
    return found[0]


def _program_for(path: Path) -> Path:
    if path.suffix == ".pdiparams":
        return path.with_suffix(".pdmodel")
    return path.with_name(OLD_NAMES[0]) if path.name == OLD_NAMES[1] else path


def _params_for(program_path: Path) -> Path:
    if program_path.name == OLD_NAMES[0]:
        return program_path.with_name(OLD_NAMES[1])
    return program_path.with_suffix(".pdiparams")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        hint = "a model is a .pdmodel and a .pdiparams (or __model__ and __params__) side by side"
        raise ConversionError(f"{path}: {exc.strerror}; {hint}") from exc
