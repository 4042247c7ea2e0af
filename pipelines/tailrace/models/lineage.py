"""Where the columns of a model come from: which fields of which Salesforce objects."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import Node, to_node
from sqlglot.optimizer.pushdown_projections import pushdown_projections
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope, traverse_scope

from tailrace.models.compile import canonical_sql
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
    tree = parse(canonical_sql(models, name))
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


def fields_read(
    models: Models,
    name: str,
    *,
    columns: Collection[str],
    landed: Mapping[str, Collection[str]],
) -> dict[str, frozenset[str]]:
    """For each landed table, the columns that a model reads to give some of its own columns.

    A column counts if it is selected, filtered, joined or grouped by, in the model or in a model
    under it; a column that no outer query uses does not.

    Args:
        models: All models.
        name: The model to look into.
        columns: The model's columns that are used.
        landed: The columns of the landed tables.
    """
    wanted = [exp.column(column, quoted=True) for column in columns]
    tree = exp.select(*wanted).from_(parse(canonical_sql(models, name)).subquery("used_rows"))
    tables = {table: dict.fromkeys(names, "unknown") for table, names in landed.items()}
    try:
        tree = qualify(tree, schema={LANDED: tables}, dialect="duckdb", quote_identifiers=False)
        scopes = traverse_scope(pushdown_projections(tree))
    except (SqlglotError, KeyError, ValueError):
        # The SQL is beyond the optimizer: every name in it counts, for every table that it reads.
        names = {node.name.lower() for node in tree.find_all(exp.Identifier)}
        every = tree.find(exp.Star, exp.Columns) is not None
        return {
            table: frozenset(known if every else names & set(known))
            for table, known in landed.items()
        }
    read: dict[str, set[str]] = {}
    for scope in scopes:
        for column in scope.columns:
            source = scope.sources.get(column.table)
            if isinstance(source, exp.Table) and source.db.lower() == LANDED:
                read.setdefault(source.name.lower(), set()).add(column.name.lower())
    return {table: frozenset(names) for table, names in read.items()}
