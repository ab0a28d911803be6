"""`edge-runtime modbus-map`: the register map for the controller's programmer."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge_runtime.config import load_settings
from edge_runtime.config_signals import ModbusSettings
from edge_runtime.protocol.modbus_map import BIT_MEANINGS, REGISTERS, STATUS_BITS, Register

HEAD = ("kind", "address", "reference", "name", "type", "words", "word_order", "access", "unit", "meaning")

SHOWN = ("address", "name", "type", "access", "meaning")


def rows(word_order: str) -> list[tuple[str, ...]]:
    """Registers, then discrete inputs. `reference` is the number as many masters write it, counted from 1."""
    registers = [_register_row(register, word_order) for register in REGISTERS]
    inputs = [
        ("discrete input", str(number), f"1{number + 1:04}", name, "bool", "", "", "read", "", BIT_MEANINGS[name])
        for number, name in enumerate(STATUS_BITS)
    ]
    return registers + inputs


def _register_row(register: Register, word_order: str) -> tuple[str, ...]:
    order = f"{word_order} word first" if register.words > 1 else ""
    at = (str(register.address), f"4{register.address + 1:04}")
    how = (register.type, str(register.words), order, register.access, register.unit)
    return ("holding register", *at, register.name, *how, register.meaning)


def as_csv(word_order: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEAD)
    writer.writerows(rows(word_order))
    return text.getvalue()


def print_map(settings_path: Path | None, csv_wanted: bool) -> None:
    """As a table for people, or as CSV. Without settings the word order is the default. Raises ConfigError."""
    modbus = load_settings(settings_path).modbus if settings_path is not None else None
    word_order = {"big": "high", "little": "low"}[(modbus or ModbusSettings()).word_order]
    if csv_wanted:
        print(as_csv(word_order), end="")
        return
    table = Table(title=f"Modbus register map, {word_order} word first")
    for name in SHOWN:
        table.add_column(name, no_wrap=name != "meaning")
    for row in rows(word_order):
        named = dict(zip(HEAD, row, strict=True))
        table.add_row(*(named[name] for name in SHOWN))
    Console().print(table)
