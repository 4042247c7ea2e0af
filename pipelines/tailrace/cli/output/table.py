"""Tables and paragraphs as lines that fit the width of a terminal, broken between words only."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from tailrace.cli.output.escape import CELL_CHARACTERS_MAX, printable
from tailrace.dataclass import dataclass

STATUS_STYLES = {
    "ok": "green",
    "unchanged": "dim",
    "skipped": "dim",
    "held": "yellow",
    "rejected": "yellow",
    "some rejected": "yellow",
    "interrupted": "yellow",
    "warning": "yellow",
    "running": "blue",
    "sending": "blue",
    "failed": "bold red",
    "not started": "bold red",
    "did not finish": "bold red",
}
COLUMN_STYLES = {
    "entered": "green",
    "changed": "cyan",
    "exited": "magenta",
    "rejected": "red",
    "held": "yellow",
    "quarantined": "yellow",
}
_GAP = "  "
WIDTH_MIN = 40
# Stands for a space at which no line breaks; `printable` leaves no such character in a text.
_BOUND = "\x1f"
_OPTION = re.compile(r"(?<!\S)(--?[a-z][\w-]*) (?=[\w<])")

Line = list[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; the columns from `first_number` on are numbers.

    Where the table is too wide, it leaves out the columns named in `optional`, one after the other.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    first_number: int = 1_000
    optional: tuple[str, ...] = ()


class Headline(str):
    """The verdict of a result as text: a word in the colour of its status, and a sentence."""

    word: str
    status: str

    def __new__(cls, word: str, status: str, sentence: str) -> Headline:
        """`status` is one of STATUS_STYLES."""
        headline = super().__new__(cls, f"{word}: {sentence}")
        headline.word, headline.status = word, status
        return headline

    def lines(self, width: int | None) -> list[Line]:
        """The headline as lines of at most `width` columns."""
        style = STATUS_STYLES.get(self.status, "")
        first, *more = wrapped(self, width)
        word, rest = first[: len(self.word)], first[len(self.word) :]
        return [[(word, f"bold {style}".strip()), (rest, "")], *([(line, "")] for line in more)]


def wrapped(block: str, width: int | None) -> list[str]:
    """A paragraph as lines of at most `width` columns, broken between words only.

    An option and its value stay on one line.

    >>> wrapped("  An audience is held because its guard says so.", 40)
    ['  An audience is held because its guard', '  says so.']
    """
    return [part for line in block.split("\n") for part in _folded(printable(line), width)]


def _folded(text: str, width: int | None) -> list[str]:
    """One line of printable text as several."""
    if width is None or len(text) <= width:
        return [text.replace(_BOUND, " ")]
    indent = text[: len(text) - len(text.lstrip())]
    parts = textwrap.wrap(
        _OPTION.sub(rf"\1{_BOUND}", text.strip()),
        max(width, WIDTH_MIN),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [part.replace(_BOUND, " ") for part in parts]


def table_lines(table: Table, width: int | None = None) -> list[Line]:
    """A table as lines: in columns where they fit the width, else each row as a paragraph.

    >>> ["".join(part for part, _ in line) for line in
    ...  table_lines(Table(("name", "size"), (("vip", "1,204"), ("lost", "3")), first_number=1))]
    ['name   size', 'vip   1,204', 'lost      3']
    """
    rows = [tuple(printable(cell, CELL_CHARACTERS_MAX) for cell in row) for row in table.rows]
    if not rows:
        return []
    for shown in _variants(table):
        kept = [tuple(row[i] for i in shown) for row in rows]
        names = tuple(table.columns[i] for i in shown)
        first_number = sum(i < table.first_number for i in shown)
        variant = Table(names, tuple(kept), first_number)
        cells = (names, *kept)
        widths = [max(len(row[i]) for row in cells) for i in range(len(shown))]
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width if width is not None else 0
        if excess > 0 and first_number == len(widths) and not table.optional:
            # Only the last column of a table of texts may wrap; it needs room for its longest word.
            words = [len(word) for row in kept for word in row[-1].split()]
            if widths[-1] - excess > max(words, default=0):
                widths[-1] -= excess
                excess = 0
        if excess <= 0:
            return [
                line
                for place, row in enumerate(cells)
                for line in _row_lines(variant, row, widths, place == 0)
            ]
    assert width is not None
    return [line for row in rows for line in _paragraph(table, row, width)]


def _variants(table: Table) -> Iterator[list[int]]:
    """The columns to try, from the most to the fewest."""
    shown = list(range(len(table.columns)))
    yield shown
    for name in table.optional:
        shown = [i for i in shown if table.columns[i] != name]
        yield shown


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
    # A name and its value stay on one line.
    bound = (pair.replace(" ", _BOUND) for pair in (pairs[1:] if row[0] else pairs))
    yield from ([(line, "")] for line in _folded(f"  {', '.join(bound)}", width))


def _style(column: str, cell: str) -> str:
    if cell in ("0", ""):
        return ""
    # A result may have its exit code behind it: `held (3)`.
    return STATUS_STYLES.get(cell.partition(" (")[0]) or COLUMN_STYLES.get(column, "")


def to_second(value: object) -> str:
    """A time of a result, to the second.

    >>> to_second("2026-11-22T05:00:00.000000Z")
    '2026-11-22 05:00:00'
    """
    return "" if value is None else str(value)[:19].replace("T", " ")
