"""The columns of landed tables and declared sources that models read.

A landed table has its own name here, such as `contact`, and a source is `dataset.table`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage
from sqlglot.optimizer.pushdown_projections import pushdown_projections
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope, traverse_scope
from sqlglot.schema import MappingSchema

from tailrace.dataclass import dataclass
from tailrace.errors import ModelDoesNotBind
from tailrace.models.compile import canonical_sql, canonical_tree
from tailrace.models.loader import Models
from tailrace.models.parse import LANDED, parse


def columns_read(models: Models) -> dict[str, dict[str, tuple[str, ...]]]:
    """For each table, the columns that models name anywhere, with the files that do.

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
                table = _table_name(scope.sources.get(column.table))
                if table is None:
                    continue
                named = found.setdefault(table, {})
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
    """For each table, the columns that a model reads to give some of its own columns.

    A column counts if it is selected, filtered, joined or grouped by, in the model or in a model
    under it; a column that no outer query uses does not.

    Args:
        models: All models.
        name: The model to look into.
        columns: The model's columns that are used.
        landed: The columns of the landed tables and sources.
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
    if any(join.method == "NATURAL" for join in tree.find_all(exp.Join)):
        # Only the warehouse knows which columns two tables have in common.
        return every_column
    schema = _schema(landed)
    try:
        tree = qualify(tree, schema=schema, dialect="duckdb", quote_identifiers=False)
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
            source = _table_name(scope.sources.get(column.table))
            if source is None:
                continue
            read.setdefault(source, set()).add(column.name.lower())
            if column.name.lower() == column.table.lower():
                # The alias of a table in the place of a column is the whole row.
                read[source].update(every_column.get(source, ()))
    return {table: frozenset(names) for table, names in read.items()}


def _table_name(source: exp.Expr | Scope | None) -> str | None:
    """The name of a landed table or a source; None for anything else."""
    if not isinstance(source, exp.Table) or not source.db or source.catalog:
        return None
    name, dataset = source.name.lower(), source.db.lower()
    return name if dataset == LANDED else f"{dataset}.{name}"


def _schema(tables: Mapping[str, Collection[str]]) -> dict[str, object]:
    """The columns of tables as the optimizer reads them: by dataset and name, without types."""
    schema: dict[str, dict[str, object]] = {}
    for table, names in tables.items():
        dataset, _, name = table.rpartition(".")
        schema.setdefault(dataset or LANDED, {})[name] = dict.fromkeys(names, "unknown")
    return dict(schema)


@dataclass(frozen=True, kw_only=True)
class SourceField:
    """A field that a model's column is computed from: `Contact.Email`, `dbt://customers.email`."""

    name: str
    personal: bool


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where a model's columns come from.

    Attributes:
        columns: The fields that each column is computed from.
        filters: The other fields that the model reads: they decide which rows it returns.
    """

    columns: Mapping[str, tuple[SourceField, ...]] = field(default_factory=dict)
    filters: tuple[str, ...] = ()


class KnownTables:
    """The tables that models may read, prepared once for the lineage of many models.

    Args:
        landed: The columns of each landed table and source: for each, the field's API name, its
            Salesforce type, and whether it is personal data.
        objects: The name of each table in the result: the object's API name, or the source's.
    """

    def __init__(
        self,
        landed: Mapping[str, Mapping[str, Sequence[object]]],
        objects: Mapping[str, str],
    ) -> None:
        self._landed = landed
        self._objects = objects
        self.schema = MappingSchema(_schema(landed), dialect="duckdb")

    def field(self, table: str, column: str) -> SourceField:
        """A column of a table as the result names it."""
        hints = self._landed.get(table, {}).get(column)
        name = f"{self._objects.get(table, table)}.{hints[0] if hints else column}"
        return SourceField(name=name, personal=bool(hints and hints[2]))


def lineage_of(
    models: Models, name: str, *, columns: Sequence[str], tables: KnownTables
) -> Lineage:
    """The fields of tables that some of a model's columns are computed from.

    Args:
        models: All models.
        name: The model.
        columns: The model's columns to explain.
        tables: The landed tables and sources.

    Returns:
        Columns without sources, where the SQL is beyond the optimizer.
    """
    unknown = Lineage(columns=dict.fromkeys(columns, ()))
    if any(models.by_name[read].query.meta.get("opaque") for read in (*models.under(name), name)):
        return unknown
    try:
        wanted = [exp.column(column, quoted=True) for column in columns]
        rows = _duckdb_tree(models, name).subquery("sent_rows", copy=False)
        tree = qualify(
            exp.select(*wanted).from_(rows, copy=False),
            schema=tables.schema,
            dialect="duckdb",
            quote_identifiers=False,
        )
        scope = build_scope(pushdown_projections(tree))
        if scope is None:
            return unknown
        sources = {column: dict.fromkeys(_sources(column, scope)) for column in columns}
    except (ModelDoesNotBind, SqlglotError, KeyError, ValueError):
        return unknown

    selected = {source for several in sources.values() for source in several}
    filters = _landed_columns(scope) - selected
    return Lineage(
        columns={
            column: tuple(tables.field(table, name) for table, name in several)
            for column, several in sources.items()
        },
        filters=tuple(sorted(tables.field(table, name).name for table, name in filters)),
    )


def _duckdb_tree(models: Models, name: str) -> exp.Query:
    """A model with the models under it as a syntax tree of DuckDB's dialect.

    Raises:
        ModelDoesNotBind: As of `canonical_sql`.
    """
    closure = (*models.under(name), name)
    if all(models.by_name[read].dialect == "duckdb" for read in closure):
        return canonical_tree(models, name)
    return parse(canonical_sql(models, name))


def _sources(column: str, scope: Scope) -> Iterator[tuple[str, str]]:
    """The table and column of each field that a column of the query is computed from."""
    root = lineage(
        column, scope.expression, scope=scope, dialect="duckdb", trim_selects=False, copy=False
    )
    for node in root.walk():
        table = _table_name(node.source)
        if table is not None:
            yield table, node.name.rpartition(".")[2].strip('"').lower()


def _landed_columns(scope: Scope) -> set[tuple[str, str]]:
    """All columns of landed tables and sources that a query and its parts name."""
    return {
        (table, column.name.lower())
        for inner in scope.traverse()
        for column in inner.columns
        if (table := _table_name(inner.sources.get(column.table))) is not None
    }
