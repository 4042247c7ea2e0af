"""Tables and paragraphs as lines that fit the width of a terminal, broken between words only."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tailrace.cli.escape import CELL_CHARACTERS_MAX, printable

STATUS_STYLES = {
    "ok": "green",
    "unchanged": "dim",
    "skipped": "dim",
    "held": "yellow",
    "warning": "yellow",
    "failed": "bold red",
}
COLUMN_STYLES = {"entered": "green", "changed": "cyan", "exited": "magenta", "rejected": "red"}
_GAP = "  "
WIDTH_MIN = 40

Line = list[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; the columns from `first_number` on are numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    first_number: int = 1_000


def wrapped(block: str, width: int | None) -> list[str]:
    """A paragraph as lines of at most `width` columns, broken between words only.

    >>> wrapped("  An audience is held because its guard says so.", 40)
    ['  An audience is held because its guard', '  says so.']
    """
    lines: list[str] = []
    for line in block.split("\n"):
        text = printable(line)
        if width is None or len(text) <= width:
            lines.append(text)
            continue
        indent = text[: len(text) - len(text.lstrip())]
        lines += textwrap.wrap(
            text.strip(),
            max(width, WIDTH_MIN),
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def table_lines(table: Table, width: int | None = None) -> list[Line]:
    """A table as lines: in columns where they fit the width, else each row as a paragraph.

    >>> ["".join(part for part, _ in line) for line in
    ...  table_lines(Table(("name", "size"), (("vip", "1,204"), ("lost", "3")), first_number=1))]
    ['name   size', 'vip   1,204', 'lost      3']
    """
    rows = [tuple(printable(cell, CELL_CHARACTERS_MAX) for cell in row) for row in table.rows]
    if not rows:
        return []
    cells = (table.columns, *rows)
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width if width is not None else 0
    if excess > 0 and width is not None:
        # Only the last column of a table of texts may wrap; it needs room for its longest word.
        words = [len(word) for row in rows for word in row[-1].split()]
        if table.first_number < len(widths) or widths[-1] - excess < max(words, default=0) + 1:
            return [line for row in rows for line in _paragraph(table, row, width)]
        widths[-1] -= excess
    return [line for row in cells for line in _row_lines(table, row, widths, row is cells[0])]


def _row_lines(
    table: Table, row: Sequence[str], widths: Sequence[int], heading: bool
) -> Iterable[Line]:
    *others, last = row
    parts = textwrap.wrap(last, widths[-1], break_long_words=False, break_on_hyphens=False) or [""]
    for position, part in enumerate(parts):
        shown = (*others, part) if position == 0 else (*("" for _ in others), part)
        line: Line = []
        for i, (cell, width) in enumerate(zip(shown, widths, strict=True)):
            text = cell.rjust(width) if i >= table.first_number else cell.ljust(width)
            if i == len(widths) - 1:
                text = text.rstrip()
            line += [(text, "bold" if heading else _style(table.columns[i], cell))]
            line += [(_GAP, "")] if i < len(widths) - 1 else []
        yield line


def _paragraph(table: Table, row: Sequence[str], width: int) -> Iterable[Line]:
    """A row of a table that is too wide: the first cell, and below it the others by name."""
    yield from ([(line, "bold")] for line in wrapped(row[0], width))
    pairs = [f"{name} {cell}" for name, cell in zip(table.columns, row, strict=True) if cell]
    text = ", ".join(pairs[1:] if row[0] else pairs)
    yield from ([(line, "")] for line in wrapped(f"  {text}", width))


def _style(column: str, cell: str) -> str:
    if cell in ("0", ""):
        return ""
    return STATUS_STYLES.get(cell) or COLUMN_STYLES.get(column, "")


def to_second(value: object) -> str:
    """A time of a result, to the second.

    >>> to_second("2026-11-22T05:00:00.000000Z")
    '2026-11-22 05:00:00'
    """
    return "" if value is None else str(value)[:19].replace("T", " ")
