"""A model's SELECT as a syntax tree: parsed, and the tables that it reads."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

import sqlglot
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import TokenType

from tailrace.audience.yaml import suggest
from tailrace.dataclass import dataclass
from tailrace.errors import ConfigurationError, HeaderInvalid, SqlDoesNotParse
from tailrace.models.nodes import Nodes
from tailrace.warehouse.sandbox import duckdb_references, syntax_error

# A table `salesforce.<object>` is a landed object, whatever the dataset is really called.
LANDED = "salesforce"

# sqlglot's log would appear on the terminal; its problems are raised as errors of ours.
logging.getLogger("sqlglot").addHandler(logging.NullHandler())

_EXCERPT_CHARACTERS_MAX = 100
_MISSING = re.compile(r"^Missing (.+?) from \d+:\d+$")


@dataclass(frozen=True, kw_only=True)
class TableRead:
    """A table that a SELECT reads: a landed object, another model, or neither."""

    kind: Literal["landed", "model", "other"]
    name: str
    node: exp.Table
    line: int


def read_select(sql: str, *, dialect: str = "duckdb", file: str | None = None) -> exp.Query:
    """Parse exactly one SELECT, or what DuckDB alone can parse.

    Returns:
        The syntax tree. Where sqlglot cannot parse the text and DuckDB can, it is a SELECT of the
        same tables with `opaque` in its `meta`: nothing is known of it but the tables.

    Raises:
        SqlDoesNotParse, HeaderInvalid: As `parse`.
    """
    try:
        return parse(sql, dialect=dialect, file=file)
    except SqlDoesNotParse as error:
        # A template is refused, though DuckDB parses some of them.
        is_template = "Jinja" in error.message
        stub = _tables_alone(sql) if dialect == "duckdb" and not is_template else None
        if stub is None:
            raise
        return stub


def _tables_alone(sql: str) -> exp.Query | None:
    """A SELECT of the tables that a text reads, by DuckDB's syntax tree, with their places."""
    references = duckdb_references(sql)
    try:
        tokens = sqlglot.tokenize(sql, read="duckdb")
    except TokenError:
        return None
    statements = [token for token in tokens[:-1] if token.token_type is TokenType.SEMICOLON]
    if not tokens or references is None or statements:
        return None
    if any(reference.kind == "parameter" for reference in references):
        return None
    own = {reference.path[-1] for reference in references if reference.kind == "cte"}
    places = {token.start: number for number, token in enumerate(tokens)}
    query = exp.select("1")
    for reference in references:
        if reference.kind != "table" or (len(reference.path) == 1 and reference.path[0] in own):
            continue
        first = places.get(reference.offset)
        if first is None or len(reference.path) > 2:
            return None
        names = [_identifier(tokens[first + 2 * place]) for place in range(len(reference.path))]
        if [name.name.lower() for name in names] != list(reference.path):
            return None
        table = exp.Table(this=names[-1], db=names[0] if len(names) > 1 else None)
        if reference.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(reference.alias)))
        query = query.join(table, copy=False) if query.args.get("from_") else query.from_(table)
    query.meta["opaque"] = True
    return query


def _identifier(token: Any) -> exp.Identifier:
    identifier = exp.Identifier(this=token.text)
    identifier.meta.update(line=token.line, col=token.col, start=token.start, end=token.end)
    return identifier


@lru_cache(maxsize=16)
def tokens_of(sql: str, dialect: str) -> tuple[Any, ...]:
    """The tokens of a text. Binding a model looks at the same text several times.

    Raises:
        TokenError: The text has no end of a quote or of a comment.
    """
    return tuple(sqlglot.tokenize(sql, read=dialect))


def parse(sql: str, *, dialect: str = "duckdb", file: str | None = None) -> exp.Query:
    """Parse exactly one SELECT.

    Raises:
        SqlDoesNotParse: With the line and the text where it goes wrong.
        HeaderInvalid: There is no such dialect, or it is MariaDB's and sqlglotc is installed.
    """
    _check_dialect(dialect, file)
    try:
        tokens = tokens_of(sql, dialect)
        _refuse_templates(tokens, file=file)
        parsed = Dialect.get_or_raise(dialect).parser().parse([*tokens], sql)
    except TokenError as error:
        raise _unreadable(error, sql, file) from None
    except ParseError as error:
        raise _syntax_error(error, sql, tokens, dialect=dialect, file=file) from None
    except RecursionError:
        raise SqlDoesNotParse("The SQL is nested too deep", file=file) from None
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        # sqlglot raises these for some texts that are not SQL.
        raise SqlDoesNotParse(f"The SQL does not parse: {error}", file=file) from None
    statements = [tree for tree in parsed if tree and not isinstance(tree, exp.Semicolon)]
    first_word = tokens[0].text if tokens else ""
    query = _one_select(statements, sql, file, first_word=first_word)
    _refuse_placeholders(query, tokens, sql, file=file)
    return query


def _check_dialect(dialect: str, file: str | None) -> None:
    try:
        is_known = Dialect.get(dialect) is not None
    except ConfigurationError as error:
        raise HeaderInvalid(error.message, hint=error.hint, file=file) from None
    if not is_known:
        raise HeaderInvalid(
            suggest(f'There is no SQL dialect "{dialect}"', dialect, Dialect.classes), file=file
        )


def _syntax_error(
    error: ParseError, sql: str, tokens: Sequence[Any], *, dialect: str, file: str | None
) -> SqlDoesNotParse:
    """The error with the line of the file and a mark under the word at fault."""
    first = error.errors[0]
    word = str(first["highlight"] or "")
    is_end = not (first["end_context"] or "").strip() and "Expect" in str(first["description"])
    place = (first["line"], first["col"])
    at = next((t.start for t in tokens if (t.line, t.col) == place), sql.find(word))
    # DuckDB's parser names the first word that cannot be right; sqlglot often a later one.
    engine = syntax_error(sql) if dialect == "duckdb" and not is_end else None
    if engine is not None and engine.offset < at:
        at = engine.offset
        word = next((token.text for token in tokens if token.start == at), word)
    verb = "The SELECT is not complete after" if is_end else "The SQL does not parse at"
    refused = SqlDoesNotParse(f'{verb} "{word}"', file=file, line=sql.count("\n", 0, at) + 1)
    refused.excerpt = excerpt(sql, at, len(word.split("\n")[0]))
    return refused


def excerpt(sql: str, offset: int, length: int) -> str:
    """The line at an offset, cut to 100 characters around it, and a mark below its characters."""
    start = sql.rfind("\n", 0, offset) + 1
    line = sql[start:].split("\n", 1)[0].replace("\t", " ").rstrip("\r")
    column = offset - start
    cut = max(0, column - _EXCERPT_CHARACTERS_MAX + 20)
    shown = line[cut : cut + _EXCERPT_CHARACTERS_MAX]
    return f"{shown}\n{' ' * (column - cut)}{'^' * max(1, min(length, len(shown) - column + cut))}"


def _one_select(
    statements: list[exp.Expr], sql: str, file: str | None, *, first_word: str
) -> exp.Query:
    first_line = sql[: len(sql) - len(sql.lstrip())].count("\n") + 1
    if not statements:
        raise SqlDoesNotParse("There is no SELECT in the file", file=file, line=first_line)
    if len(statements) > 1:
        raise SqlDoesNotParse(
            f"There are {len(statements)} statements; a model is exactly one SELECT",
            hint="Give each SELECT its own file.",
            file=file,
            line=line_of(statements[1], default=first_line),
        )
    query = statements[0]
    while isinstance(query, exp.Subquery) and not query.args.get("with_"):
        query = query.this
    if not isinstance(query, exp.Query):
        raise SqlDoesNotParse(
            f"A model is exactly one SELECT; this begins with {first_word}",
            file=file,
            line=line_of(query, default=first_line),
        )
    return query


def _refuse_templates(tokens: Sequence[Any], *, file: str | None) -> None:
    for one, two in itertools.pairwise(tokens):
        adjacent = two.start == one.end + 1
        opening = one.text + two.text if adjacent and one.text == "{" else one.text
        if opening in ("{{", "{%", "{#"):
            raise SqlDoesNotParse(
                f"{opening} is not SQL: models are plain SQL, without Jinja",
                hint="Write the name of the model, or salesforce.<object>.",
                file=file,
                line=one.line,
            )


def _refuse_placeholders(
    query: exp.Query, tokens: Sequence[Any], sql: str, *, file: str | None
) -> None:
    if query.find(exp.Placeholder, exp.Parameter):
        marks = [token for token in tokens if token.token_type.name in ("PARAMETER", "PLACEHOLDER")]
        mark = marks[0] if marks else tokens[-1]
        raise SqlDoesNotParse(
            f"{mark.text} is a placeholder, and models have no parameters",
            hint="Write the value itself.",
            file=file,
            # The tokenizer's own line is one too far for a $ near the end of a line.
            line=sql.count("\n", 0, mark.start) + 1,
        )


def _unreadable(error: TokenError, sql: str, file: str | None) -> SqlDoesNotParse:
    """The error for a text or comment that is not closed, with the line where it begins."""
    # The compiled sqlglot (sqlglotc) sets no cause.
    found = _MISSING.match(str(error.__cause__ or error.__context__ or ""))
    opening = found.group(1) if found else "/*"
    at = sql.rfind(opening)
    while at > 0 and not _tokenizes(sql[:at]):
        at = sql.rfind(opening, 0, at)
    line = sql.count("\n", 0, max(at, 0)) + 1
    return SqlDoesNotParse(
        f"{opening} opens a text or a comment that is not closed", file=file, line=line
    )


def _tokenizes(sql: str) -> bool:
    try:
        sqlglot.tokenize(sql, read="duckdb")
    except TokenError:
        return False
    return True


def line_of(node: exp.Expr, *, default: int = 1) -> int:
    """The first line that the tree knows of a node or of anything in it."""
    lines = [inner.meta["line"] for inner in node.walk() if "line" in inner.meta]
    return int(min(lines, default=default))


def tables(nodes: Nodes) -> Iterator[TableRead]:
    """Every table that is read, without the names that the SELECT itself defines (WITH)."""
    for node in nodes.of(exp.Table):
        if not isinstance(node.this, exp.Identifier):
            if isinstance(node.this, exp.ReadCSV | exp.ReadParquet) or _reads_files(node.this):
                yield TableRead(kind="other", name=node.sql(), node=node, line=line_of(node))
            continue
        name, schema = node.name.lower(), node.db.lower()
        if not schema and not node.catalog:
            if name not in _visible_names(node):
                yield TableRead(kind="model", name=name, node=node, line=line_of(node.this))
        elif schema == LANDED and not node.catalog:
            yield TableRead(kind="landed", name=name, node=node, line=line_of(node.this))
        else:
            whole = ".".join(part.name for part in node.parts)
            yield TableRead(kind="other", name=whole, node=node, line=line_of(node.this))


def _reads_files(node: exp.Expr) -> bool:
    name = node.name if isinstance(node, exp.Anonymous) else ""
    return bool(re.search(r"^read_|_scan$|^glob$|^query(_table)?$", name.lower()))


def _visible_names(node: exp.Expr) -> set[str]:
    """The names of WITH clauses that are visible at a node."""
    visible: set[str] = set()
    inside: exp.CTE | None = None
    at = node.parent
    below: exp.Expr = node
    while at is not None:
        if isinstance(at, exp.CTE):
            inside = at
        elif isinstance(at, exp.With):
            names = [cte.alias.lower() for cte in at.expressions]
            # A name is not yet there inside its own definition, so that
            # `WITH contacts AS (SELECT * FROM contacts)` reads the model.
            own = next(i for i, cte in enumerate(at.expressions) if cte is inside)
            visible.update(names if at.recursive else names[:own])
        elif isinstance(at, exp.Query):
            clause = at.args.get("with_")
            if clause is not None and below is not clause:
                visible.update(cte.alias.lower() for cte in clause.expressions)
        below, at = at, at.parent
    return visible
