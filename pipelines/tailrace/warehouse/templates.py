"""Templates of `sql/` as text with gaps, each rendered once and kept for later commands.

Reading the engine's SQL with sqlglot takes longer than a run without news, and gives the same text
each time. While a warehouse is open, what was rendered is kept in `.tailrace/rendered-sql.json`
(see `parse_cache`). It holds SQL of this package with names of columns, and no value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from tailrace.warehouse.bindings import Column
from tailrace.warehouse.parse_cache import ParseCache
from tailrace.warehouse.sql_files import Part, StatementFacts, named_statement

FILE = "rendered-sql.json"
FILE_BYTES_MAX = 4_000_000
# The code that the text depends on, besides the templates and sqlglot.
_CODE = ("rendering.py", "as_sent.py", "sql_files.py")

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


@lru_cache(maxsize=512)
def facts_of(name: str, dialect: str) -> StatementFacts:
    """What the template `subject/name` of `sql/` is.

    Raises:
        StatementInvalid: There is no such template.
    """
    kept, key = _Kept.cache, _key(name, dialect, "facts")
    if kept is not None and (value := kept.get(key)) is not None:
        statements, is_query, is_create, temporary, names = value
        return StatementFacts(
            statements=statements,
            is_query=is_query,
            is_create=is_create,
            temporary=temporary,
            names=frozenset(names),
        )
    from tailrace.warehouse.rendering import read_facts

    facts = read_facts(name, dialect)
    if kept is not None:
        names = sorted(facts.names)
        kept.put(key, [facts.statements, facts.is_query, facts.is_create, facts.temporary, names])
    return facts


@lru_cache(maxsize=2048)
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
    kept = _Kept.cache
    key = _key(name, dialect, number, sorted(tables), columns, column, part)
    if kept is not None and (pieces := kept.get(key)) is not None:
        return tuple(pieces)
    from tailrace.warehouse.rendering import render

    rendered = render(
        name,
        dialect,
        number,
        tables=tables,
        columns=dict(columns),
        column=column,
        part=part,
    )
    if kept is not None:
        kept.put(key, list(rendered))
    return rendered


def _key(name: str, dialect: str, *bindings: object) -> str:
    text = named_statement(name, dialect).text
    whole = f"{name}\0{dialect}\0{bindings!r}\0{text}"
    return hashlib.sha256(whole.encode(errors="replace")).hexdigest()
