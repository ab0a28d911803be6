"""Data from outside, checked by pydantic: the strict base model, and the one translation of its errors."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

MAX_PROBLEMS = 5
MAX_VALUE_CHARS = 60
KEY_MARK = ("[key]",)  # pydantic's place of a wrong key in a table


class StrictModel(BaseModel):
    """A frozen section of a file: an unknown key is an error that lists the allowed ones; NaN is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, data: Any) -> Any:
        allowed = [field.alias or name for name, field in cls.model_fields.items()]
        unknown = [str(key) for key in data if key not in allowed] if isinstance(data, dict) else []
        if unknown:
            raise ValueError(_unknown_key(unknown[0], allowed))
        return data


def describe(exc: ValidationError) -> str:
    """One line for what is wrong: `key.path[0]: problem (value)` for each of the first problems, joined by "; "."""
    problems = _independent(exc.errors(include_url=False))
    lines = [_describe_one(problem) for problem in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        lines.append(f"and {len(problems) - MAX_PROBLEMS} more")
    return "; ".join(lines)


def _independent(problems: list[Any]) -> list[Any]:
    """Without the lists that are too short only because an entry of theirs is wrong."""
    places = [problem["loc"] for problem in problems]

    def has_wrong_entry(loc: tuple[int | str, ...]) -> bool:
        return any(len(place) > len(loc) and place[: len(loc)] == loc for place in places)

    return [problem for problem in problems if problem["type"] != "too_short" or not has_wrong_entry(problem["loc"])]


def _describe_one(problem: Any) -> str:
    what = problem["msg"].removeprefix("Value error, ")
    what = re.sub(r"^[A-Z][a-z]+ should ", "must ", what)
    if problem["loc"][-1:] == KEY_MARK:
        return _describe_key(problem, what)
    if problem["type"].startswith("union_tag_"):
        return _describe_tag(problem)
    value = problem["input"]
    shown = "" if isinstance(value, dict | list | tuple | BaseModel) else f", not {_shorten(repr(value))}"
    if problem["type"] == "missing":
        what, shown = "this key is missing", ""
    elif problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        what, shown = "unknown key", ""
    where = _key_path(problem["loc"])
    return f"{where}: {what}{shown}" if where else f"{what}{shown}"


def _describe_key(problem: Any, what: str) -> str:
    """A key of a table whose keys are names or numbers of their own."""
    *table, key, _ = problem["loc"]
    allowed = _quoted(problem["ctx"]["expected"]) if problem["type"] == "enum" else []
    wrong = _unknown_key(str(key), allowed) if allowed else f"key {_shorten(str(key))!r}: {what}"
    return f"{_key_path(tuple(table))}: {wrong}"


def _describe_tag(problem: Any) -> str:
    """The key that chooses between kinds of a section is missing or wrong."""
    context = problem["ctx"]
    where = _key_path((*problem["loc"], *_quoted(context["discriminator"])))
    if "tag" not in context:
        return f"{where}: this key is missing"
    return f"{where}: must be one of {context['expected_tags']}, not {_shorten(repr(context['tag']))}"


def _quoted(text: str) -> list[str]:
    return re.findall("'([^']*)'", text)


def _key_path(loc: tuple[int | str, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return _shorten(path.removeprefix("."), 200)


def _unknown_key(key: str, allowed: list[str]) -> str:
    near = get_close_matches(key, allowed, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown key {_shorten(key)!r}; {hint}allowed: {', '.join(allowed)}"


def _shorten(text: str, limit_chars: int = MAX_VALUE_CHARS) -> str:
    return text if len(text) <= limit_chars else f"{text[:limit_chars]}…"
