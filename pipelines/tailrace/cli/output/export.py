"""Rows as a file: CSV or JSON Lines, by the file's ending."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# A spreadsheet takes a cell that starts with one of these for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> int:
    """Write rows to a file and return their number. Columns of the key become columns of a CSV.

    Raises:
        OSError: The file cannot be written.
    """
    with file.open("w", encoding="utf-8", newline="") as out:
        if file.suffix.lower() != ".csv":
            out.writelines(f"{json.dumps(row, default=str, ensure_ascii=False)}\n" for row in rows)
            return len(rows)
        flat = [_flat(row) for row in rows]
        names = list(dict.fromkeys(name for row in flat for name in row))
        writer = csv.DictWriter(out, names)
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in flat)
    return len(rows)


def write_text(file: Path, text: str) -> None:
    """Replace a file at once, so that no reader sees a part of it.

    Raises:
        OSError: The file cannot be written.
    """
    unfinished = file.with_name(f".{file.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    key = row.get("key") or {}
    rest = {name: value for name, value in row.items() if name != "key"}
    return {"audience": row.get("audience"), **{f"key.{n}": v for n, v in key.items()}, **rest}


def _cell(value: Any) -> Any:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
