"""What the page shows, read back: numbers with the cell they come from, and how the page writes a number."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal

import numpy as np

SPACE, MINUS = "\u202f", "\u2212"
KINDS = {"f4": "<f4", "f8": "<f8", "i1": "i1", "u1": "u1", "i4": "<i4", "u4": "<u4"}


def _grouped(digits: str) -> str:
    return digits if len(digits) < 5 else re.sub(r"\B(?=(\d{3})+$)", SPACE, digits)


def _significant(size: float, digits: int) -> tuple[str, int]:
    """The `digits` leading digits of a positive number and its decimal exponent; ties go up."""
    exact = Decimal(size)
    exponent = exact.adjusted()
    scaled = exact.scaleb(digits - 1 - exponent).quantize(Decimal(1), ROUND_HALF_UP)
    if scaled >= 10**digits:
        scaled, exponent = scaled / 10, exponent + 1
    return str(int(scaled)), exponent


def written(x: float, digits: int = 4) -> str:
    """A number as the page writes it."""
    x = float(x)
    if np.isnan(x):
        return "NaN"
    if np.isinf(x):
        return "∞" if x > 0 else MINUS + "∞"
    if x == 0:
        return MINUS + "0" if np.signbit(x) else "0"
    sign, size = (MINUS if x < 0 else ""), abs(x)
    if size < 1e15 and size == int(size):
        return sign + _grouped(str(int(size)))
    digit, exponent = _significant(size, digits)
    if size >= 1e-3 and size < 10.0 ** max(digits, 6):
        if exponent >= digits - 1:
            return sign + digit + "0" * (exponent - digits + 1)
        text = digit[: exponent + 1] + "." + digit[exponent + 1 :] if exponent >= 0 else None
        text = text or "0." + "0" * (-exponent - 1) + digit
        return sign + text.rstrip("0").rstrip(".")
    mantissa = (digit[0] + "." + digit[1:]).rstrip("0").rstrip(".")
    return f"{sign}{mantissa}e{str(exponent).replace('-', MINUS)}"


def _rounded(x: float) -> float:
    digit, exponent = _significant(x, 3) if x else ("0", 0)
    return float(f"{digit}e{exponent - 2}") if x else 0.0


def written_as(x: float, unit: str, digits: int) -> str:
    """A number with its unit as the page writes it."""
    x = float(x)
    if unit == "percent":
        return f"{written(x * 100, 3)}{SPACE}%"
    if unit == "count":
        place = 0
        while x >= 999.5 and place < 5:
            x, place = x / 1000, place + 1
        return written(x, 4) if place == 0 else f"{written(_rounded(x), 3)} {' kMGTP'[place]}"
    if unit in ("bytes", "time"):
        names = ["B", "kB", "MB", "GB", "TB"] if unit == "bytes" else ["ns", "µs", "ms", "s"]
        limit = 999.5 if unit == "bytes" else 1000.0
        place = 0
        if unit == "bytes":
            while x >= limit and place < len(names) - 1:
                x, place = x / 1000, place + 1
        else:
            place = 0 if x < 1e3 else 1 if x < 1e6 else 2 if x < 1e9 else 3
            x = x / 10 ** (3 * place)
        text = str(int(x)) if unit == "bytes" and place == 0 and x == int(x) else written(_rounded(x), 3)
        return f"{text} {names[place]}"
    return written(x, digits)


def value_of(tables: dict, cell: str) -> float:
    """The number of the recording that a cell names: "table:row:column", or "array:row:raw:i" for an element."""
    table, row, *rest = cell.split(":")
    row = int(row)
    if rest[0] == "raw":
        array = tables["array"]
        kind, index = array["dtype"][row], int(rest[1])
        at = int(array["at"][row])
        raw = tables["raw"]["byte"][at : at + int(array["nbytes"][row])].tobytes()
        element = float(np.frombuffer(raw, KINDS[kind])[index])
        return element if array["full"][row] else element * float(array["scale"][row])
    return float(tables[table][rest[0]][row])


def cells(tab) -> list[dict]:
    """Every number in the document: its cell, unit, digits and text."""
    return tab.evaluate(
        """() => [...document.querySelectorAll("[data-cell]")].map((e) => ({
            cell: e.dataset.cell, unit: e.dataset.unit ?? "number", digits: Number(e.dataset.digits ?? 4),
            text: e.textContent }))"""
    )


def mismatches(tables: dict, found: list[dict]) -> list[tuple]:
    """Numbers whose text is not what the recording's cell is written as."""
    wrong = []
    for one in found:
        expected = written_as(value_of(tables, one["cell"]), one["unit"], one["digits"])
        if one["text"] != expected:
            wrong.append((one["cell"], one["text"], expected))
    return wrong
