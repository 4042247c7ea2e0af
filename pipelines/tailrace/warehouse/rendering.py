"""Renders statement templates of `sql/` as text with gaps, by sqlglot.

`statements` describes the placeholders and fills the gaps. It imports this module for a statement
that no earlier command has rendered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import sqlglot
from sqlglot import exp

from tailrace.errors import StatementInvalid
from tailrace.warehouse import clickhouse
from tailrace.warehouse.as_sent import as_sent, as_stored, differs_when_sent
from tailrace.warehouse.bindings import Column
from tailrace.warehouse.names import with_stored_names
from tailrace.warehouse.sql_files import (
    ALIAS_PREFIX,
    VALUE_MARK,
    Part,
    StatementFacts,
    named_statement,
)

# The place of a value or of a table in rendered text. No statement contains these characters.
_MARKED = re.compile(f"'{VALUE_MARK}(\\w+){VALUE_MARK}'|\x02(\\w+)\x02")
# PostgreSQL takes no more arguments of a function.
ARGUMENTS_MAX = 100
_WITHOUT_INTERVALS = frozenset({"bigquery", "databricks", "mariadb", "snowflake"})
# The expressions of values of a column that depend on its type.
_TYPED: Mapping[str, Callable[..., exp.Expr]] = {
    "AS_SENT": as_sent,
    "AS_STORED": as_stored,
    "DIFFERS": differs_when_sent,
}


def read_facts(name: str, dialect: str) -> StatementFacts:
    """What the template `subject/name` of `sql/` is.

    Raises:
        StatementInvalid: There is no such template.
    """
    trees = parsed(name, dialect)
    names: set[str] = set()
    for tree in trees:
        names |= {node.name.removeprefix("old__") for node in tree.find_all(exp.Identifier)}
    return StatementFacts(
        statements=len(trees),
        is_query=isinstance(trees[0], exp.Query),
        is_create=isinstance(trees[0], exp.Create),
        temporary=_temporary_table(trees),
        names=frozenset(names),
    )


def _temporary_table(trees: Sequence[exp.Expr]) -> str | None:
    (tree, *others) = trees
    if others or not isinstance(tree, exp.Create) or tree.kind != "TABLE":
        return None
    if not isinstance(tree.expression, exp.Query) or tree.find(exp.TemporaryProperty) is None:
        return None
    table = tree.find(exp.Table)
    return None if table is None else str(table.name)


def render(
    name: str,
    dialect: str,
    number: int,
    *,
    tables: Collection[str],
    columns: Mapping[str, Sequence[Column]],
    column: Column | None,
    part: Part | None,
) -> tuple[str | None, ...]:
    """A statement as text, split at each value and each table.

    Args:
        name: The template.
        dialect: The dialect to write.
        number: The place of the statement under the name.
        tables: The names of the tables that are bound.
        columns: The column lists.
        column: The single column of the template.
        part: See `Part`; None is the whole.

    Returns:
        Text, a value's name, a table's name, text, and so on; one of the two names is None.

    Raises:
        StatementInvalid: The template needs a column list that is not there.
    """
    tree = parsed(name, dialect)[number].copy()
    gaps = _Gaps(name, dialect, frozenset(tables), columns)
    tree = with_stored_names(_part(gaps.fill(tree, column), part), dialect)
    if dialect == clickhouse.DIALECT:
        tree = clickhouse.with_whole_times(tree)
    return tuple(_MARKED.split(tree.sql(dialect=dialect, comments=False, copy=False)))


def _part(tree: exp.Expr, part: Part | None) -> exp.Expr:
    if part is None:
        return tree
    rows: exp.Expr = tree.expression
    if part == "query":
        return rows
    if part == "rows":
        return exp.Insert(this=tree.this, expression=rows)
    properties = tree.args["properties"].expressions
    if part == "shared":
        properties = [p for p in properties if not isinstance(p, exp.TemporaryProperty)]
    else:
        properties = [*properties, exp.WithDataProperty(no=True)]
    tree.args["properties"].set("expressions", properties)
    return tree


@lru_cache(maxsize=256)
def parsed(name: str, dialect: str) -> tuple[exp.Expr, ...]:
    """The syntax trees under a name of `sql/`, which callers do not change."""
    written = named_statement(name, dialect)
    trees = sqlglot.parse(written.text, read=written.dialect)
    own = (_with_own_aliases(tree) for tree in trees if tree is not None)
    return tuple(
        _without_intervals(tree) if dialect in _WITHOUT_INTERVALS else tree for tree in own
    )


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


def _without_intervals(tree: exp.Expr) -> exp.Expr:
    """Seconds between two times by a function, where a difference of times is not an interval."""
    for extract in list(tree.find_all(exp.Extract)):
        difference = extract.expression.unnest()
        if extract.name.upper() == "EPOCH" and isinstance(difference, exp.Sub):
            microseconds = exp.TimestampDiff(
                this=difference.this, expression=difference.expression, unit=exp.var("MICROSECOND")
            )
            extract.replace(exp.Div(this=microseconds, expression=exp.Literal.number("1000000.0")))
    return tree


@lru_cache(maxsize=512)
def _type(text: str, dialect: str) -> exp.DataType:
    return exp.DataType.build(text, dialect=dialect, udt=True)


@dataclass(frozen=True, slots=True)
class _Gaps:
    name: str
    dialect: str
    tables: frozenset[str]
    columns: Mapping[str, Sequence[Column]]

    def fill(self, tree: exp.Expr, column: Column | None = None) -> exp.Expr:
        """Mark every placeholder: lists first, so that the repeated expressions are marked too."""
        for call in list(tree.find_all(exp.Anonymous)):
            self._fill_call(call)
        for schema in list(tree.find_all(exp.Schema)):
            self._fill_schema(schema)
        if self.dialect == "postgres":
            for joined in list(tree.find_all(exp.Concat)):
                _in_groups(joined)
        for placeholder in list(tree.find_all(exp.Placeholder)):
            placeholder.replace(exp.Literal.string(f"{VALUE_MARK}{placeholder.name}{VALUE_MARK}"))
        if column is not None:
            tree = _of_column(tree, column, self.dialect)
        for table in list(tree.find_all(exp.Table)):
            self._fill_table(table)
        return tree

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
        if table.name not in self.tables or table.db:
            return
        alias = table.alias
        node: exp.Expr = exp.Table(this=exp.to_identifier(f"\x02{table.name}\x02", quoted=False))
        if alias or isinstance(table.parent, exp.From | exp.Join):
            node = exp.alias_(node, alias or table.name, table=True)
        for key in ("joins", "pivots"):
            if table.args.get(key):
                node.set(key, table.args[key])
        table.replace(node)


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
            name.replace(_identifier(column.pair or column.name))
        elif name.name.endswith("___"):
            name.replace(_identifier(name.name.removesuffix("_") + column.name))
    for text in list(holder.find_all(exp.Literal)):
        if text.is_string and text.this == "_LABEL":
            text.replace(exp.Literal.string(column.label))
    for type_ in list(holder.find_all(exp.DataType)):
        if str(type_.args.get("kind", "")).upper() == "_TYPE":
            type_.replace(_type(column.type, dialect).copy())
    for call in list(holder.find_all(exp.Anonymous)):
        typed = _TYPED.get(call.name.upper())
        if typed is not None:
            call.replace(typed(*call.expressions, column.type, dialect))
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
    if not spliced and isinstance(parent, exp.Group):
        parent.pop()
        return
    parent.set(key, spliced)


def _joined(node: exp.Expr) -> list[exp.Expr]:
    return node.expressions if type(node) is exp.Concat else [node]


def _in_groups(joined: exp.Concat) -> None:
    """Nest the parts of a text, if they are more than a function takes."""
    while len(joined.expressions) > ARGUMENTS_MAX:
        parts = joined.expressions
        groups = [parts[at : at + ARGUMENTS_MAX] for at in range(0, len(parts), ARGUMENTS_MAX)]
        joined.set("expressions", [_like(joined, group) for group in groups])


def _like(joined: exp.Concat, parts: list[exp.Expr]) -> exp.Concat:
    return exp.Concat(**{**joined.args, "expressions": parts})
