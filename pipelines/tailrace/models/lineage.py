"""Where the columns of a model come from: which fields of which Salesforce objects."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import Node, to_node
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope, traverse_scope

from tailrace.models.compile import definition
from tailrace.models.loader import Models
from tailrace.models.parse import LANDED, parse


def trace(
    models: Models, name: str, *, landed: Mapping[str, Collection[str]] | None = None
) -> dict[str, tuple[str, ...]]:
    """For each column that the model gives, the landed columns that its value is made of.

    A column is `contact.email`; `contact.*` when a star hides which one it is. A constant and a
    count come from none.

    Args:
        models: All models.
        name: The model to look into.
        landed: The columns of the landed tables, where they are known; they tell which table of
            several an unqualified column belongs to.
    """
    tables = {table: dict.fromkeys(columns, "unknown") for table, columns in (landed or {}).items()}
    tree = parse(definition(models, name))
    try:
        tree = qualify(
            tree,
            schema={LANDED: tables} if tables else None,
            dialect="duckdb",
            validate_qualify_columns=False,
            allow_partial_qualification=True,
            quote_identifiers=False,
        )
        scope = build_scope(tree)
    except SqlglotError:
        return {}
    if scope is None:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for column in models.by_name[name].columns or tree.named_selects:
        try:
            node = to_node(column, scope=scope, dialect="duckdb")
        except (SqlglotError, ValueError):
            continue
        leaves = {leaf for each in node.walk() if (leaf := _leaf(each))}
        found[column.lower()] = tuple(sorted(leaves))
    return found


def columns_read(models: Models) -> dict[str, dict[str, tuple[str, ...]]]:
    """For each landed table, the columns that models name anywhere, with the files that do.

    A column that stands without its table in a join of several is left out: only the warehouse
    could tell whose it is.
    """
    found: dict[str, dict[str, dict[str, None]]] = {}
    for model in models.by_name.values():
        try:
            tree = qualify(
                model.query.copy(),
                dialect=model.dialect,
                validate_qualify_columns=False,
                allow_partial_qualification=True,
                quote_identifiers=False,
            )
            scopes = traverse_scope(tree)
        except SqlglotError:
            continue
        for scope in scopes:
            for column in scope.columns:
                source = scope.sources.get(column.table)
                if not isinstance(source, exp.Table) or source.db.lower() != LANDED:
                    continue
                named = found.setdefault(source.name.lower(), {})
                named.setdefault(column.name.lower(), {})[model.file] = None
    return {
        table: {column: tuple(files) for column, files in sorted(named.items())}
        for table, named in sorted(found.items())
    }


def _leaf(node: Node) -> str | None:
    """`contact.email` for a column of a landed table."""
    table = node.expression
    if not isinstance(table, exp.Table) or table.db.lower() != LANDED:
        return None
    return f"{table.name.lower()}.{node.name.rpartition('.')[2].strip(chr(34)).lower()}"
