"""Binds tables, columns and values into the engine's SQL, as syntax-tree nodes.

A statement is written once, in DuckDB's dialect, in a file of `sql/` (see `sql_files`). It has
three kinds of placeholders:

* A table name is replaced by the table, the query or the rows bound to it: `FROM model AS m`.
* `:name` is replaced by a literal.
* Column lists are as long as the audience makes them. `EACH_COLUMN(keys, c._)` stands for one
  expression a column of the list `keys`, with `_` as the column and `_TYPE` as its type; in a
  SELECT each keeps the column's name, after an optional prefix: `EACH_COLUMN(columns, s._, old__)`.
  `EVERY_COLUMN(keys, c._ = p._)` joins by AND, `ANY_COLUMN(…)` by OR. A column that was given a
  prefix is `old___`; `_PAIR` is another column that goes with the column, and `'_LABEL'` a text.
  In an INSERT's column list a bare `keys` stands for its columns, and `old__columns` for the
  prefixed ones.
  `AS_SENT(c._)` is the value as JSON can carry it (see `as_sent`): NaN and infinity are NULL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

import sqlglot
from sqlglot import exp

from tailrace.clock import format_utc
from tailrace.errors import StatementInvalid
from tailrace.warehouse.as_sent import as_sent
from tailrace.warehouse.sql_files import WRITTEN_IN, named_statement

# The prefix of each alias in a statement. No column of an audience may begin with it.
ALIAS_PREFIX = "tr__"
# The place of a value or of a query in rendered text. No statement contains these characters.
_MARKED = re.compile("'\x1f(\\w+)\x1f'|\x02(\\w+)\x02")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table or of a query: its name in lower case and its type as SQL.

    `label` replaces `'_LABEL'` in the same expression, and `pair` the column `_PAIR`.
    """

    name: str
    type: str = "VARCHAR"
    label: str = ""
    pair: str = ""


@dataclass(frozen=True, slots=True)
class TableName:
    """A table in a dataset; without one, a temporary table of the session."""

    dataset: str | None
    name: str

    def node(self) -> exp.Table:
        return exp.table_(self.name, db=self.dataset, quoted=True)

    def __str__(self) -> str:
        return f"{self.dataset}.{self.name}" if self.dataset else self.name


@dataclass(frozen=True, slots=True)
class Rows:
    """Values bound as a table: at least one row, in the order of the column names.

    A statement casts each column, since one that is NULL in all rows has no type.
    """

    names: tuple[str, ...]
    rows: Sequence[Sequence[Any]]

    def text(self, dialect: str) -> str:
        values = exp.values([tuple(map(literal, row)) for row in self.rows], "v", self.names)
        return exp.select("*").from_(values, copy=False).sql(dialect=dialect, copy=False)


Binding = TableName | exp.Query


@dataclass(frozen=True, slots=True)
class UnionAll:
    """Queries of this package, none of them a model, that are bound as one table."""

    queries: Sequence[exp.Query]

    def text(self, dialect: str) -> str:
        return " UNION ALL ".join(query_text(query, dialect) for query in self.queries)


Bound = Binding | Rows | UnionAll
# A statement that creates a table from a SELECT has two parts: the empty table, and its rows.
Part = Literal["layout", "rows"]
# Bound to a table, it leaves a marker for the text of a table's name or of a query.
OPEN = TableName(None, "\x02")


def statement(
    name: str,
    dialect: str,
    /,
    *,
    tables: Mapping[str, Bound] | None = None,
    columns: Mapping[str, Sequence[Column]] | None = None,
    column: Column | None = None,
    part: Part | None = None,
    **values: Any,
) -> str:
    """The statement `subject/name` of `sql/`, bound and rendered for a dialect.

    `part` is the part of a statement that creates a table from a SELECT; None is the whole.

    Raises:
        StatementInvalid: The name has several statements, or a placeholder is not bound.
    """
    named = _names_in(name, dialect)
    bound = {table: binding for table, binding in (tables or {}).items() if table in named}
    lists = {list_: tuple(of) for list_, of in (columns or {}).items() if list_ in named}
    opened, labels = _open_labels(lists)
    pieces = _pieces(name, dialect, frozenset(bound), opened, column, part)
    return "".join(_filled(name, dialect, pieces, bound, values | labels))


def _open_labels(
    lists: Mapping[str, tuple[Column, ...]],
) -> tuple[tuple[tuple[str, tuple[Column, ...]], ...], dict[str, str]]:
    """The column lists with a marker for each label, and the labels by the names in the markers."""
    labels = {
        f"{name}_{place}": column.label
        for name, columns in lists.items()
        for place, column in enumerate(columns)
        if column.label
    }
    opened = tuple(
        (
            name,
            tuple(
                replace(column, label=f"\x1f{name}_{place}\x1f") if column.label else column
                for place, column in enumerate(columns)
            ),
        )
        for name, columns in lists.items()
    )
    return opened, labels


@lru_cache(maxsize=2048)
def _pieces(
    name: str,
    dialect: str,
    tables: frozenset[str],
    columns: tuple[tuple[str, tuple[Column, ...]], ...],
    column: Column | None,
    part: Part | None,
) -> tuple[str | None, ...]:
    """A statement rendered once for all values, labels, tables and queries, split at each.

    Text, a value's name, a table's name, text, and so on; one of the two names is None. Audiences
    whose columns have the same names and types share it.
    """
    gaps = _Gaps(name, dialect, dict.fromkeys(tables, OPEN), dict(columns), None)
    tree = _part(gaps.fill(_the_one(name, dialect), column), part)
    return tuple(_MARKED.split(tree.sql(dialect=dialect, comments=False, copy=False)))


def _part(tree: exp.Expr, part: Part | None) -> exp.Expr:
    if part is None:
        return tree
    rows = tree.expression
    if part == "rows":
        return exp.Insert(this=tree.this, expression=rows)
    properties = tree.args["properties"].expressions
    tree.args["properties"].set("expressions", [*properties, exp.WithDataProperty(no=True)])
    return tree


def creates_temporary_table(name: str, dialect: str) -> bool:
    """Whether the statement `subject/name` creates a temporary table from a SELECT."""
    (tree, *others) = _parsed(name, dialect)
    return (
        not others
        and isinstance(tree, exp.Create)
        and tree.kind == "TABLE"
        and isinstance(tree.expression, exp.Query)
        and tree.find(exp.TemporaryProperty) is not None
    )


def created_table(name: str, dialect: str) -> str | None:
    """The placeholder of the temporary table that the statement `subject/name` creates."""
    if not creates_temporary_table(name, dialect):
        return None
    ((table, *_),) = (list(_parsed(name, dialect)[0].this.find_all(exp.Table)),)
    return str(table.name)


def runs_read_only(name: str, dialect: str) -> bool:
    """Whether the statement `subject/name` only reads, or writes to temporary tables only."""
    (tree, *_) = _parsed(name, dialect)
    if isinstance(tree, exp.Create):
        return creates_temporary_table(name, dialect)
    return isinstance(tree, exp.Query) or not name.startswith("ledger/")


def _filled(
    name: str,
    dialect: str,
    pieces: Sequence[str | None],
    tables: Mapping[str, Bound],
    values: Mapping[str, Any],
) -> Iterator[str]:
    for place, piece in enumerate(pieces):
        if piece is None:
            continue
        if place % 3 == 0:
            yield piece
        elif place % 3 == 2:
            yield _binding_text(tables[piece], dialect)
        elif piece not in values:
            raise StatementInvalid(f"{name} needs a value for :{piece}")
        else:
            yield _literal_text(values[piece], dialect)


def _binding_text(binding: Bound, dialect: str) -> str:
    if isinstance(binding, TableName):
        return _table_text(binding, dialect)
    if isinstance(binding, Rows | UnionAll):
        return f"({binding.text(dialect)})"
    return f"({query_text(binding, dialect)})"


@lru_cache(maxsize=1024)
def _table_text(table: TableName, dialect: str) -> str:
    return table.node().sql(dialect=dialect)


class _Same:
    """A query compared by identity: comparing syntax trees is slower than rendering them."""

    __slots__ = ("query",)

    def __init__(self, query: exp.Query) -> None:
        self.query = query

    def __hash__(self) -> int:
        return id(self.query)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.query is self.query


def query_text(query: exp.Query, dialect: str) -> str:
    """The text of a bound query; rendered once, unless it is text already."""
    if isinstance(query.this, exp.Var):
        return rendered(query, dialect)
    return _query_text(_Same(query), dialect)


@lru_cache(maxsize=64)
def _query_text(same: _Same, dialect: str) -> str:
    return rendered(same.query, dialect)


def runs_query(name: str, dialect: str, tables: Mapping[str, Bound] | None) -> bool:
    """Whether a query is bound to a table of the statement `subject/name`."""
    named = _names_in(name, dialect)
    return any(
        table in named and isinstance(binding, exp.Query)
        for table, binding in (tables or {}).items()
    )


def _literal_text(value: Any, dialect: str) -> str:
    if type(value) is int and value >= 0:
        return str(value)
    node = literal(value)
    # A minus in front of a negative number would begin a comment.
    whole = exp.paren(node, copy=False) if isinstance(node, exp.Neg) else node
    return whole.sql(dialect=dialect, copy=False)


def query(
    name: str,
    dialect: str,
    /,
    *,
    tables: Mapping[str, Binding] | None = None,
    columns: Mapping[str, Sequence[Column]] | None = None,
    column: Column | None = None,
    **values: Any,
) -> exp.Query:
    """The SELECT `subject/name` of `sql/`, bound, for use as a table of another statement."""
    if not isinstance(_parsed(name, dialect)[0], exp.Query):
        raise StatementInvalid(f"{name} is not a SELECT")
    text = statement(name, dialect, tables=tables, columns=columns, column=column, **values)
    return verbatim(text)


def script(
    name: str,
    dialect: str,
    /,
    *,
    tables: Mapping[str, Binding] | None = None,
    columns: Mapping[str, Sequence[Column]] | None = None,
    **values: Any,
) -> tuple[str, ...]:
    """The statements under `subject/name` in `sql/`, each bound and rendered for a dialect."""
    gaps = _Gaps(name, dialect, dict(tables or {}), dict(columns or {}), values)
    return tuple(
        gaps.fill(tree.copy()).sql(dialect=dialect, comments=False, copy=False)
        for tree in _parsed(name, dialect)
    )


def verbatim(text: str) -> exp.Query:
    """A query that sqlglot writes as it is. A line break ends a comment at the end of the text."""
    return exp.Subquery(this=exp.Var(this=f"{text}\n"))


def rendered(query: exp.Query, dialect: str) -> str:
    """A bound query as text."""
    return query.sql(dialect=dialect, comments=False)


def literal(value: Any) -> exp.Expr:
    """A Python value as a literal node, which is never parsed as SQL."""
    if isinstance(value, datetime):
        return exp.cast(exp.Literal.string(format_utc(value)), "TIMESTAMPTZ", dialect=WRITTEN_IN)
    if value is None or isinstance(value, bool | int | float | str | Decimal):
        return exp.convert(value)
    raise StatementInvalid(f"a {type(value).__name__} cannot be bound as a literal")


@lru_cache(maxsize=256)
def _parsed(name: str, dialect: str) -> tuple[exp.Expr, ...]:
    written = named_statement(name, dialect)
    trees = sqlglot.parse(written.text, read=written.dialect)
    return tuple(_with_own_aliases(tree) for tree in trees if tree is not None)


def _with_own_aliases(tree: exp.Expr) -> exp.Expr:
    """Prefix the aliases: with a column named d, `d.seq` would be a field of that column."""
    own = [n for n in tree.find_all(exp.TableAlias) if not isinstance(n.parent, exp.CTE)]
    aliases = {node.name for node in own if node.name}
    for column in tree.find_all(exp.Column):
        if column.table in aliases:
            column.set("table", exp.to_identifier(f"{ALIAS_PREFIX}{column.table}"))
    for node in own:
        if node.name:
            node.set("this", exp.to_identifier(f"{ALIAS_PREFIX}{node.name}"))
    return tree


@lru_cache(maxsize=256)
def _names_in(name: str, dialect: str) -> frozenset[str]:
    """Every name in a statement. Other bindings do not affect it."""
    names: set[str] = set()
    for tree in _parsed(name, dialect):
        names |= {node.name.removeprefix("old__") for node in tree.find_all(exp.Identifier)}
    return frozenset(names)


def _the_one(name: str, dialect: str) -> exp.Expr:
    trees = _parsed(name, dialect)
    if len(trees) != 1:
        raise StatementInvalid(f"{name} holds {len(trees)} statements, not one")
    return trees[0].copy()


@lru_cache(maxsize=512)
def _type(text: str, dialect: str) -> exp.DataType:
    return exp.DataType.build(text, dialect=dialect, udt=True)


@dataclass(frozen=True, slots=True)
class _Gaps:
    name: str
    dialect: str
    tables: Mapping[str, Binding]
    columns: Mapping[str, Sequence[Column]]
    # Without values, each placeholder leaves its marker in the text.
    values: Mapping[str, Any] | None

    def fill(self, tree: exp.Expr, column: Column | None = None) -> exp.Expr:
        """Fill every placeholder: lists first, so that the repeated expressions are bound too, and
        tables last, so that names inside a bound model are never read as placeholders."""
        for call in list(tree.find_all(exp.Anonymous)):
            self._fill_call(call)
        for schema in list(tree.find_all(exp.Schema)):
            self._fill_schema(schema)
        for placeholder in list(tree.find_all(exp.Placeholder)):
            placeholder.replace(self._value(placeholder.name))
        if column is not None:
            tree = _of_column(tree, column, self.dialect)
        for table in list(tree.find_all(exp.Table)):
            self._fill_table(table)
        return tree

    def _value(self, name: str) -> exp.Expr:
        if self.values is None:
            return exp.Literal.string(f"\x1f{name}\x1f")
        if name not in self.values:
            raise StatementInvalid(f"{self.name} needs a value for :{name}")
        return literal(self.values[name])

    def _list(self, name: str) -> Sequence[Column]:
        if name not in self.columns:
            raise StatementInvalid(f"{self.name} needs the column list {name}")
        return self.columns[name]

    def _fill_call(self, call: exp.Anonymous) -> None:
        shape = call.name.upper()
        if shape not in ("EACH_COLUMN", "EVERY_COLUMN", "ANY_COLUMN"):
            return
        list_, template, *rest = call.expressions
        columns = self._list(list_.name)
        nodes = [_of_column(template, column, self.dialect) for column in columns]
        if shape == "EVERY_COLUMN":
            call.replace(exp.paren(exp.and_(*nodes)) if nodes else exp.true())
        elif shape == "ANY_COLUMN":
            call.replace(exp.paren(exp.or_(*nodes)) if nodes else exp.false())
        else:
            prefix = rest[0].name if rest else ""
            _splice(call, _named(call, nodes, columns, prefix))

    def _fill_schema(self, schema: exp.Schema) -> None:
        filled: list[exp.Expr] = []
        for node in schema.expressions:
            if isinstance(node, exp.Identifier) and node.name in self.columns:
                filled += [_identifier(c.name) for c in self.columns[node.name]]
            elif isinstance(node, exp.Identifier) and node.name.startswith("old__"):
                list_ = node.name.removeprefix("old__")
                filled += [_identifier(f"old__{c.name}") for c in self._list(list_)]
            else:
                filled.append(node)
        schema.set("expressions", filled)

    def _fill_table(self, table: exp.Table) -> None:
        binding = self.tables.get(table.name)
        if binding is None or table.db:
            return
        alias = table.alias
        if isinstance(binding, TableName):
            mark = exp.Table(this=exp.to_identifier(f"\x02{table.name}\x02", quoted=False))
            node: exp.Expr = mark if binding is OPEN else binding.node()
            if alias or isinstance(table.parent, exp.From | exp.Join):
                node = exp.alias_(node, alias or table.name, table=True)
            for key in ("joins", "pivots"):
                if table.args.get(key):
                    node.set(key, table.args[key])
            table.replace(node)
        else:
            table.replace(binding.copy().subquery(alias or table.name))


def _identifier(name: str) -> exp.Identifier:
    return exp.to_identifier(name, quoted=True)


def _of_column(template: exp.Expr, column: Column, dialect: str) -> exp.Expr:
    # The copy needs a parent: a root node cannot be replaced.
    holder = exp.Paren(this=template.copy())
    for name in list(holder.find_all(exp.Identifier)):
        if name.quoted:
            # A quoted name is a column that was bound before.
            continue
        if name.name == "_":
            name.replace(_identifier(column.name))
        elif name.name == "_PAIR":
            name.replace(_identifier(column.pair))
        elif name.name.endswith("___"):
            name.replace(_identifier(name.name.removesuffix("_") + column.name))
    for text in list(holder.find_all(exp.Literal)):
        if text.is_string and text.this == "_LABEL":
            text.replace(exp.Literal.string(column.label))
    for type_ in list(holder.find_all(exp.DataType)):
        if str(type_.args.get("kind", "")).upper() == "_TYPE":
            type_.replace(_type(column.type, dialect).copy())
    for call in list(holder.find_all(exp.Anonymous)):
        if call.name.upper() == "AS_SENT":
            (value,) = call.expressions
            call.replace(as_sent(value, column.type, dialect))
    result: exp.Expr = holder.this
    result.pop()
    return result


def _named(
    call: exp.Anonymous, nodes: list[exp.Expr], columns: Sequence[Column], prefix: str
) -> Iterator[exp.Expr]:
    projected = isinstance(call.parent, exp.Select) and call.arg_key == "expressions"
    for node, column in zip(nodes, columns, strict=True):
        wanted = prefix + column.name
        if projected and not (isinstance(node, exp.Column) and node.name == wanted):
            yield exp.alias_(node, wanted, quoted=True)
        else:
            yield node


def _ordered_like(ordered: exp.Expr, node: exp.Expr) -> exp.Expr:
    result = ordered.copy()
    result.set("this", node)
    return result


def _splice(call: exp.Anonymous, nodes: Iterator[exp.Expr]) -> None:
    stands: exp.Expr = call
    if isinstance(call.parent, exp.Ordered):
        ordered = stands = call.parent
        nodes = iter([_ordered_like(ordered, node) for node in nodes])
    parent, key = stands.parent, stands.arg_key
    if parent is None or key is None:
        raise StatementInvalid("EACH_COLUMN stands alone")
    siblings = parent.args[key]
    if not isinstance(siblings, list):
        raise StatementInvalid("EACH_COLUMN stands where only one expression fits")
    spliced: list[exp.Expr] = []
    for sibling in siblings:
        spliced += list(nodes) if sibling is stands else [sibling]
    if type(parent) is exp.Concat:
        # A nested CONCAT would copy each text twice.
        spliced = [part for node in spliced for part in _joined(node)]
    parent.set(key, spliced)


def _joined(node: exp.Expr) -> list[exp.Expr]:
    return node.expressions if type(node) is exp.Concat else [node]
