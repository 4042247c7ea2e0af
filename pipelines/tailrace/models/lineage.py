"""The columns of landed tables that models read."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.pushdown_projections import pushdown_projections
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import traverse_scope

from tailrace.errors import ModelDoesNotBind
from tailrace.models.compile import canonical_sql
from tailrace.models.loader import Models
from tailrace.models.parse import LANDED, parse


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
    every_column = {table: frozenset(names) for table, names in landed.items()}
    closure = (*models.under(name), name)
    if any(models.by_name[read].query.meta.get("opaque") for read in closure):
        return every_column
    wanted = [exp.column(column, quoted=True) for column in columns]
    try:
        text = canonical_sql(models, name)
    except ModelDoesNotBind:
        return every_column
    tree = exp.select(*wanted).from_(parse(text).subquery("used_rows"))
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
