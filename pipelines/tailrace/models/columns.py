"""The columns of a SELECT and their types, as far as they follow from the SQL alone.

The columns of a landed table are known to the warehouse only. Columns that depend on them are
checked when the plan binds the SELECT to the tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, traverse_scope

from tailrace.audience.yaml import suggest
from tailrace.dataclass import dataclass
from tailrace.errors import ModelError, UnknownColumn
from tailrace.models.nodes import Nodes
from tailrace.models.parse import line_of

UNKNOWN_TYPE = "unknown"

_INVENTED = re.compile(r"_col_\d+")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What is known of a SELECT's columns.

    `names` are lower-case, duplicates included; None when the SQL alone cannot say: a star over
    a landed table, a PIVOT, COLUMNS(…). A column without a name is left out; nothing can refer
    to it. `tree` has every column under its table and every expression with its type.
    """

    names: tuple[str, ...] | None
    types: Mapping[str, str]
    tree: exp.Query | None


Known = Mapping[str, Columns]


def columns_of(
    nodes: Nodes, known: Known, *, dialect: str = "duckdb", typed: bool = True
) -> Columns:
    """Follow the columns of a SELECT through the models that it reads.

    Without `typed`, types and tree are left out where they cannot show an error: following them
    takes longer than parsing the SELECT.
    """
    query, nothing = nodes.query, Columns(names=None, types={}, tree=None)
    if query.meta.get("opaque") or nodes.has(exp.Pivot, exp.Columns) or _unpacks(nodes):
        return nothing
    if not typed and _reads_landed_tables_alone(nodes):
        return Columns(names=_names_of(query), types={}, tree=None)
    # Only the models that the SELECT names: sqlglot prepares every table of the schema.
    read = {node.name.lower() for node in nodes.of(exp.Table)}
    schema: dict[str, object] = {
        name: dict(known[name].types) for name in read & known.keys() if known[name].names
    }
    try:
        tree = qualify(
            query.copy(),
            schema=schema,
            dialect=dialect,
            validate_qualify_columns=False,
            allow_partial_qualification=True,
            quote_identifiers=False,
            isolate_tables=False,
        )
        tree = annotate_types(tree, schema=schema, dialect=dialect)
    except (SqlglotError, AttributeError, KeyError, TypeError, ValueError):
        # The optimizer does not know every construct that the warehouse does.
        return nothing
    if not isinstance(tree, exp.Query) or not tree.selects:
        return nothing
    names = _names_of(tree)
    if names is None:
        return Columns(names=None, types={}, tree=tree)
    types = dict.fromkeys(names, UNKNOWN_TYPE)
    if isinstance(tree, exp.Select):
        types |= {
            n: _type(column)
            for column in tree.selects
            if (n := column.output_name.lower()) in types
        }
    return Columns(names=names, types=types, tree=tree)


def _names_of(query: exp.Query) -> tuple[str, ...] | None:
    if any(column.is_star for column in query.selects) or "*" in query.named_selects:
        return None
    names = [name.lower() for name in query.named_selects]
    return tuple(name for name in names if name and not _INVENTED.fullmatch(name))


def _reads_landed_tables_alone(nodes: Nodes) -> bool:
    """Whether a SELECT has no part of its own and reads no model.

    Only the warehouse knows the columns of its tables.
    """
    return (
        isinstance(nodes.query, exp.Select)
        and not nodes.has(exp.CTE, exp.Subquery, exp.SetOperation)
        and all(node.args.get("db") for node in nodes.of(exp.Table))
    )


def unknown_columns(
    tree: exp.Query, known: Known, *, file: str | None = None
) -> Iterator[ModelError]:
    """Columns that the SELECT takes from a model, or a WITH of its own, that has no such column."""
    for scope in traverse_scope(tree):
        for column in scope.columns:
            if column.args.get("db") or not column.table:
                continue
            there = _columns_there(scope.sources.get(column.table), known)
            name = column.name.lower()
            if there is None or name in there or name == "rowid":
                continue
            yield UnknownColumn(
                suggest(f'{column.table} has no column "{column.name}"', name, there),
                hint=f"{column.table} has: {', '.join(there)}",
                file=file,
                line=line_of(column),
            )


def _columns_there(source: exp.Expr | Scope | None, known: Known) -> tuple[str, ...] | None:
    """The columns of what a name stands for, when all of them are known."""
    if isinstance(source, exp.Table):
        renamed = source.args.get("alias") and source.args["alias"].columns
        if source.db or renamed or source.name.lower() not in known:
            return None
        return known[source.name.lower()].names
    if isinstance(source, Scope) and isinstance(source.expression, exp.Select):
        selects = source.expression.selects
        names = tuple(column.output_name.lower() for column in selects)
        if (
            all(names)
            and not any(column.is_star for column in selects)
            and not source.outer_columns
        ):
            return names
    return None


def _type(node: exp.Expr) -> str:
    kind = node.type
    if kind is None or kind.is_type(exp.DataType.Type.UNKNOWN):
        return UNKNOWN_TYPE
    return kind.sql("duckdb")


def _unpacks(nodes: Nodes) -> bool:
    """Whether a SELECT list holds what becomes several columns: unnest of a struct, * LIKE."""
    for select in nodes.of(exp.Select):
        for column in select.expressions:
            inner = column.unalias()
            if isinstance(inner, exp.Unnest | exp.Explode):
                return True
            star = None if isinstance(inner, exp.Star) else inner.find(exp.Star)
            if star is not None and not isinstance(star.parent, exp.Count | exp.Column):
                return True
    return False
