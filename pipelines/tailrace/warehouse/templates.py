"""Templates of `sql/` as text with gaps, each rendered once and kept for later commands.

Reading the engine's SQL with sqlglot takes longer than a run without news, and gives the same text
each time. While a warehouse is open, what was rendered is kept in `.tailrace/rendered-sql.json`
(see `parse_cache`). It holds SQL of this package with names of columns, and no value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from tailrace.warehouse.bindings import Column
from tailrace.warehouse.parse_cache import ParseCache
from tailrace.warehouse.sql_files import Part, StatementFacts, named_statement

FILE = "rendered-sql.json"
FILE_BYTES_MAX = 4_000_000
# The code that the text depends on, besides the templates and sqlglot.
_CODE = ("rendering.py", "as_sent.py", "names.py", "sql_files.py")

# Statements that this process keeps.
RENDERED_MAX = 4_096
_RENDERED: dict[str, list[Any]] = {}

ColumnLists = tuple[tuple[str, tuple[Column, ...]], ...]


class _Kept:
    """What earlier commands have rendered, while a warehouse is open."""

    cache: ParseCache | None = None


@contextmanager
def rendered_sql_kept(folder: Path) -> Iterator[None]:
    """Read what earlier commands have rendered, and at the end of the block keep what is new.

    Args:
        folder: The working folder of the project, `.tailrace/`.
    """
    before = _Kept.cache
    code = [Path(__file__).with_name(name) for name in _CODE]
    cache = _Kept.cache = ParseCache(folder / FILE, bytes_max=FILE_BYTES_MAX, code=code)
    try:
        yield
    finally:
        _Kept.cache = before
        cache.save()


def facts_of(name: str, dialect: str) -> StatementFacts:
    """What the template `subject/name` of `sql/` is.

    Raises:
        StatementInvalid: There is no such template.
    """
    return _facts(_Kept.cache, name, dialect)


def pieces_of(
    name: str,
    dialect: str,
    number: int,
    *,
    tables: frozenset[str],
    columns: ColumnLists,
    column: Column | None,
    part: Part | None,
) -> tuple[str | None, ...]:
    """A statement rendered once for all values, labels, tables and queries; see `rendering.render`.

    Audiences whose columns have the same names and types share it.

    Raises:
        StatementInvalid: The template needs a column list that is not there.
    """
    return _pieces(_Kept.cache, name, dialect, number, tables, columns, column, part)


def forget() -> None:
    """Forget what this process has rendered."""
    _facts.cache_clear()
    _pieces.cache_clear()
    _RENDERED.clear()


# The cache is a part of the arguments: another project's file gets what this process has rendered.
@lru_cache(maxsize=512)
def _facts(cache: ParseCache | None, name: str, dialect: str) -> StatementFacts:
    def read() -> list[Any]:
        from tailrace.warehouse.rendering import read_facts

        facts = read_facts(name, dialect)
        first = [facts.statements, facts.is_query, facts.is_create, facts.temporary]
        return [*first, sorted(facts.names)]

    statements, is_query, is_create, temporary, names = _rendered(
        cache, _key(name, dialect, "facts"), read
    )
    return StatementFacts(
        statements=statements,
        is_query=is_query,
        is_create=is_create,
        temporary=temporary,
        names=frozenset(names),
    )


@lru_cache(maxsize=2048)
def _pieces(
    cache: ParseCache | None,
    name: str,
    dialect: str,
    number: int,
    tables: frozenset[str],
    columns: ColumnLists,
    column: Column | None,
    part: Part | None,
) -> tuple[str | None, ...]:
    def read() -> list[Any]:
        from tailrace.warehouse.rendering import render

        lists = dict(columns)
        return list(
            render(name, dialect, number, tables=tables, columns=lists, column=column, part=part)
        )

    key = _key(name, dialect, number, sorted(tables), columns, column, part)
    return tuple(_rendered(cache, key, read))


def _rendered(cache: ParseCache | None, key: str, read: Callable[[], list[Any]]) -> list[Any]:
    """What an earlier command or this process has rendered, or what `read` gives."""
    value: list[Any] | None = None if cache is None else cache.get(key)
    if value is not None:
        return value
    value = _RENDERED.get(key)
    if value is None:
        value = read()
        if len(_RENDERED) >= RENDERED_MAX:
            _RENDERED.clear()
        _RENDERED[key] = value
    if cache is not None:
        cache.put(key, value)
    return value


def _key(name: str, dialect: str, *bindings: object) -> str:
    text = named_statement(name, dialect).text
    whole = f"{name}\0{dialect}\0{bindings!r}\0{text}"
    return hashlib.sha256(whole.encode(errors="replace")).hexdigest()
