"""Reads the engine's SQL: files of named statements, found by subject and name.

A subject is a file `sql/<subject>.sql` or a folder `sql/<subject>/` of such files. A statement
begins with its name, followed by a comment that describes it:

    -- name: digest
    -- One value for all transitions of a plan.
    SELECT …

    -- name: digest (postgres)
    -- The same, with PostgreSQL's functions.
    SELECT …

A statement limited to an engine replaces the one without a limit there. Statements without a
limit are written in DuckDB's dialect and translated for the engine that runs them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal

from tailrace.dataclass import dataclass
from tailrace.errors import StatementInvalid

WRITTEN_IN = "duckdb"
# The prefix of each alias in a statement. No column of an audience may begin with it.
ALIAS_PREFIX = "tr__"
# On both sides of a value's name in rendered text. No dialect writes an escape for this character,
# as Snowflake's does for each control character.
VALUE_MARK = "\ue000"
# A statement that creates a temporary table from a SELECT has two parts: the empty table, and its
# rows, of which `query` is the SELECT alone. It may also create a table of another database, which
# other sessions see.
Part = Literal["layout", "rows", "query", "shared"]
_HEADING = re.compile(r"^-- name: (\w+)(?: \((\w+)\))?$", re.MULTILINE)


@dataclass(frozen=True)
class NamedStatement:
    """The text of one statement, or of several separated by `;`.

    `only_for` is the engine that the statement is limited to, None for all engines.
    """

    name: str
    only_for: str | None
    text: str

    @property
    def dialect(self) -> str:
        """The SQL dialect of the text."""
        return self.only_for or WRITTEN_IN


@dataclass(frozen=True, kw_only=True)
class StatementFacts:
    """What a template is, without any binding.

    Attributes:
        statements: How many statements are under the name.
        is_query: Whether the first one is a SELECT.
        is_create: Whether the first one creates a table or a view.
        temporary: The placeholder of the temporary table that is created from a SELECT, or None.
        names: Every name in the statements. Other bindings do not affect them.
    """

    statements: int
    is_query: bool
    is_create: bool
    temporary: str | None
    names: frozenset[str]


@lru_cache(maxsize=8)
def root(folder: str) -> Path:
    """A folder of SQL: inside the package once installed, at the repository root in a checkout."""
    package = Path(__file__).parents[1]
    shipped = package / folder
    return shipped if shipped.is_dir() else package.parents[1] / folder


def named_statement(name: str, dialect: str) -> NamedStatement:
    """The statement `subject/name` for a dialect: its own if there is one, else DuckDB's.

    Raises:
        StatementInvalid: No file of the subject has a statement of this name.
    """
    subject, _, short = name.partition("/")
    statements = subject_statements(root("sql"), subject)
    statement = statements.get((short, dialect)) or statements.get((short, None))
    if statement is None:
        raise StatementInvalid(f"sql/{subject} has no statement named {short}")
    return statement


def all_statements() -> list[str]:
    """The name `subject/name` of every statement, sorted."""
    folder = root("sql")
    subjects = {path.relative_to(folder).parts[0].removesuffix(".sql") for path in _files(folder)}
    return sorted(
        {
            f"{subject}/{name}"
            for subject in subjects
            for name, _ in subject_statements(folder, subject)
        }
    )


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.sql"))


@lru_cache(maxsize=64)
def subject_statements(folder: Path, subject: str) -> dict[tuple[str, str | None], NamedStatement]:
    """Every statement of a subject by its name and dialect, in the order of the files.

    Raises:
        StatementInvalid: Two statements have the same name and dialect.
    """
    file = folder / f"{subject}.sql"
    files = [file] if file.is_file() else _files(folder / subject)
    statements: dict[tuple[str, str | None], NamedStatement] = {}
    for path in files:
        for statement in read_statements(path):
            key = (statement.name, statement.only_for)
            if key in statements:
                raise StatementInvalid(f"sql/{subject} has two statements named {statement.name}")
            statements[key] = statement
    return statements


def read_statements(path: Path) -> Iterator[NamedStatement]:
    """The statements of a file in their order."""
    text = path.read_text(encoding="utf-8")
    headings = list(_HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    for heading, end in zip(headings, ends, strict=True):
        yield NamedStatement(
            name=heading[1],
            only_for=heading[2],
            text=text[heading.end() : end].strip(),
        )
