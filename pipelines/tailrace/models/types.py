"""The types of the expressions in a model, as far as the landed tables and the SQL tell them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.annotate_types import TypeAnnotator, annotate_types
from sqlglot.optimizer.qualify import qualify

# The columns of a landed table, by `schema` and `name` as a model writes them, with their types.
ColumnTypes = Callable[[str, str], Mapping[str, exp.DataType]]

_TAG = "place"
# The schema of models in the copy that the optimizer reads.
_MODELS = "models_of_the_project"
SqlType = exp.DType
TEXTS = frozenset(
    {SqlType.TEXT, SqlType.VARCHAR, SqlType.CHAR, SqlType.NVARCHAR, SqlType.NCHAR, SqlType.NAME}
)
INTEGERS = frozenset(
    {SqlType.TINYINT, SqlType.SMALLINT, SqlType.INT, SqlType.BIGINT, SqlType.INT128}
)
DECIMALS = frozenset({SqlType.DECIMAL})
DOUBLES = frozenset({SqlType.DOUBLE})
DATES = frozenset({SqlType.DATE})
TIMESTAMPS = frozenset({SqlType.TIMESTAMP, SqlType.TIMESTAMPNTZ})
INSTANTS = frozenset({SqlType.TIMESTAMPTZ, SqlType.TIMESTAMPLTZ})
BOOLEANS = frozenset({SqlType.BOOLEAN})
NUMBERS = INTEGERS | DECIMALS | DOUBLES


def _by_operand(whole: exp.DType | None) -> Mapping[str, Any]:
    """The type of round(), ceil() and floor(): exact numbers stay exact, as in both engines."""

    def annotator(annotator: TypeAnnotator, node: exp.Expr) -> exp.Expr:
        kind = node.this.type.this if node.this.type is not None else None
        if kind in DECIMALS:
            annotator._set_type(node, SqlType.DECIMAL)
        elif kind in INTEGERS:
            annotator._set_type(node, whole or kind)
        else:
            annotator._set_type(node, kind if kind in DOUBLES else SqlType.UNKNOWN)
        return node

    return {"annotator": annotator}


def _metadata(dialect: str) -> Any:
    """The types of functions that sqlglot knows, and those that it lacks or takes for others."""
    texts = (
        *(exp.Left, exp.Right, exp.Replace, exp.SplitPart, exp.RegexpReplace, exp.Trim),
        *(exp.Dayname, exp.Monthname, exp.TimeToStr, exp.JSONExtractScalar, exp.GroupConcat),
    )
    own: dict[type[exp.Expr], Any] = {name: {"returns": SqlType.VARCHAR} for name in texts}
    own[exp.Round] = _by_operand(None)
    own[exp.Ceil] = own[exp.Floor] = _by_operand(SqlType.DOUBLE)
    picked = {"annotator": lambda annotator, node: annotator._annotate_by_args(node, "this")}
    own[exp.ArgMax] = own[exp.ArgMin] = picked
    own[exp.JSONExtract] = {"returns": SqlType.JSON}
    if dialect == "duckdb":
        own[exp.Div] = {"returns": SqlType.DOUBLE}
    return {**Dialect.get_or_raise(dialect).EXPRESSION_METADATA, **own}


def annotate(
    tree: exp.Query,
    columns: ColumnTypes | None,
    *,
    dialect: str = "duckdb",
    models: Mapping[str, Mapping[str, exp.DataType]] | None = None,
) -> dict[str, exp.DataType]:
    """Set the type of each expression of a tree, where it is known.

    The optimizer works on a copy, since it rewrites the tree; types are carried over by a tag.

    Args:
        tree: The SELECT.
        columns: The columns of the landed tables; None offline.
        dialect: The dialect of the SELECT.
        models: The columns of other models that it reads.

    Returns:
        The types of the SELECT's own columns, as far as they are known.
    """
    nodes: list[exp.Expr] = [node for node in tree.walk() if isinstance(node, exp.Condition)]
    for number, node in enumerate(nodes):
        node.meta[_TAG] = number
        node.type = None
    schema = _schema(tree, columns, models or {})
    typed = _typed(tree.copy(), schema, models or {}, dialect)
    _restore_nulls(typed, schema)
    for node in typed.walk():
        place = node.meta.get(_TAG)
        if place is not None and node.type is not None:
            nodes[place].type = node.type
    for node in nodes:
        node.meta.pop(_TAG, None)
    own = typed.selects if isinstance(typed, exp.Query) else []
    return {
        column.alias_or_name.lower(): column.unalias().type or column.type
        for column in own
        if column.type is not None and not column.is_star
    }


def _restore_nulls(typed: exp.Expr, schema: Mapping[str, Any]) -> None:
    """Give columns that are NULL in every row this type, which the optimizer calls unknown."""
    nulls = {
        column
        for tables in schema.values()
        for types in tables.values()
        for column, text in types.items()
        if text == "NULL"
    }
    for column in typed.find_all(exp.Column) if nulls else ():
        unknown = column.type is None or column.type.is_type(SqlType.UNKNOWN)
        if unknown and column.name.lower() in nulls:
            column.type = SqlType.NULL


def _typed(
    copy: exp.Query,
    schema: dict[str, object],
    models: Mapping[str, Mapping[str, exp.DataType]],
    dialect: str,
) -> exp.Expr:
    """A copy with every column under its table and every expression with its type."""
    for table in copy.find_all(exp.Table):
        if not table.db and table.name.lower() in models:
            table.set("db", exp.to_identifier(_MODELS))
    for literal in list(copy.find_all(exp.Literal)):
        if not literal.is_string and "." in literal.name and "e" not in literal.name.lower():
            # The optimizer takes 1.5 for a double; both engines read an exact number.
            exact = exp.cast(literal.copy(), "DECIMAL")
            exact.meta.update(literal.meta)
            literal.replace(exact)
    try:
        qualified = qualify(
            copy,
            schema=schema,
            dialect=dialect,
            validate_qualify_columns=False,
            allow_partial_qualification=True,
            quote_identifiers=False,
            isolate_tables=False,
        )
        return annotate_types(qualified, schema, _metadata(dialect), dialect=dialect)
    except (SqlglotError, AttributeError, KeyError, TypeError, ValueError, IndexError):
        # The optimizer does not know every construct; then only literals have types.
        return annotate_types(copy, None, _metadata(dialect), dialect=dialect)


def _schema(
    tree: exp.Query,
    columns: ColumnTypes | None,
    models: Mapping[str, Mapping[str, exp.DataType]],
) -> dict[str, object]:
    """The schema for the optimizer. It wants each table at the same depth, so models have one."""
    schema: dict[str, dict[str, object]] = {}
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier) or table.catalog:
            continue
        name = table.name.lower()
        if table.db and columns:
            types = columns(table.db.lower(), name)
        elif not table.db and name in models:
            types = models[name]
        else:
            continue
        texts = {column: type_.sql("duckdb") for column, type_ in types.items()}
        schema.setdefault(table.db.lower() or _MODELS, {})[name] = texts
    return dict(schema)


def kind_of(node: exp.Expr) -> exp.DType | None:
    """The type of an expression; None if it is not known."""
    if isinstance(node, exp.Literal):
        if node.is_string:
            return SqlType.TEXT
        return SqlType.INT if node.is_int else SqlType.DECIMAL
    if isinstance(node, exp.Null):
        # Beside columns of known types, the optimizer calls it unknown.
        return SqlType.NULL
    if isinstance(node, exp.Cast):
        return node.to.this if isinstance(node.to.this, exp.DType) else None
    known = node.type
    if known is None or known.is_type(SqlType.UNKNOWN):
        return kind_of(node.this) if isinstance(node, exp.Paren) else None
    return known.this if isinstance(known.this, exp.DType) else None


def is_kind(node: exp.Expr, *kinds: frozenset[exp.DType]) -> bool:
    """Whether an expression is known to have one of these types; NULL has every type."""
    kind = kind_of(node)
    return kind is SqlType.NULL or any(kind in family for family in kinds)
