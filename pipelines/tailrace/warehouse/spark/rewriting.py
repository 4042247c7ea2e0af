"""Statements in words that Sail has, which writes to Delta tables by some of Spark's only.

Sail 0.7 refuses a DELETE with a subquery, an UPDATE with other tables, and an INSERT that leaves
columns out. Each is rewritten to a MERGE, or to an INSERT OVERWRITE with the rows that remain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sqlglot import exp

from tailrace.warehouse.spark.catalog import Partition

DIALECT = "spark"
# The name of the rows that are written, which no table of a statement has.
ROWS = "tr__rows"
# The column that only the server's table has, and its values.
PARTITION_COLUMN = "tr__partition"
PARTITION_PATTERNS = {"year": "yyyy", "month": "yyyy-MM", "day": "yyyy-MM-dd"}
MICROSECONDS = 1_000_000


def with_all_columns(
    source: exp.Expr,
    columns: Sequence[tuple[str, str]],
    given: Sequence[str],
    partition: Partition | None = None,
) -> exp.Query:
    """The rows of an INSERT for all columns of the table, in their order and types.

    Args:
        source: The query or the VALUES that an INSERT writes.
        columns: The columns of the table with their types.
        given: The columns that the statement names; empty for all, in the table's order.
        partition: The partitions of the table, whose value is the last column.
    """
    names = [name.lower() for name in given] or [name.lower() for name, _ in columns]
    if isinstance(source, exp.Values):
        # Without a cast, a text and a number in one column are both read as a number.
        types = {name.lower(): type_ for name, type_ in columns}
        tuples = [
            exp.Tuple(
                expressions=[
                    exp.cast(value.copy(), types[name], dialect=DIALECT)
                    for value, name in zip(row.expressions, names, strict=True)
                ]
            )
            for row in source.expressions
        ]
        rows: exp.Expr = exp.Values(expressions=tuples, alias=_rows_alias(names))
    else:
        query = source.copy()
        for select in _selects(query):
            name_columns(select, names)
        rows = exp.Subquery(this=query, alias=_rows_alias(()))
    projections = [
        exp.alias_(
            exp.cast(
                exp.column(name.lower(), ROWS, quoted=True)
                if name.lower() in names
                else exp.null(),
                type_,
                dialect=DIALECT,
            ),
            name,
            quoted=True,
        )
        for name, type_ in columns
    ]
    if partition is not None:
        value = next(
            projection.unalias()
            for projection in projections
            if projection.alias == partition.column
        )
        projections.append(exp.alias_(partition_value(value, partition), PARTITION_COLUMN))
    return exp.select(*projections, copy=False).from_(rows, copy=False)


def partition_value(value: exp.Expr, partition: Partition) -> exp.Expr:
    """The partition of a row by its value of the partitioned column, such as `2026-01`."""
    pattern = exp.Literal.string(PARTITION_PATTERNS[partition.unit])
    return exp.Anonymous(this="DATE_FORMAT", expressions=[value.copy(), pattern])


def partition_of(properties: exp.Properties | None) -> Partition | None:
    """The partitions that a CREATE TABLE asks for, as `PARTITIONED BY (MONTHS(column))`."""
    asked = properties.find(exp.PartitionedByProperty) if properties is not None else None
    transform = asked.find(exp.Anonymous) if asked is not None else None
    if transform is None:
        return None
    return Partition(transform.expressions[0].name, transform.name.lower().removesuffix("s"))


def _rows_alias(names: Sequence[str]) -> exp.TableAlias:
    return exp.TableAlias(
        this=exp.to_identifier(ROWS),
        columns=[exp.to_identifier(name, quoted=True) for name in names],
    )


def _selects(query: exp.Expr) -> list[exp.Select]:
    """The SELECTs whose rows a query returns."""
    if isinstance(query, exp.SetOperation):
        return [*_selects(query.left), *_selects(query.right)]
    if isinstance(query, exp.Subquery):
        return _selects(query.this)
    return [query] if isinstance(query, exp.Select) else []


def name_columns(select: exp.Select, names: Sequence[str]) -> None:
    """Give each column of a SELECT a name: Sail refuses two columns without one, such as NULLs."""
    projections = select.expressions
    if len(projections) != len(names) or select.is_star:
        return
    select.set(
        "expressions",
        [
            exp.alias_(projection.unalias(), name, quoted=True, copy=False)
            for projection, name in zip(projections, names, strict=True)
        ],
    )


def with_casts(
    statement: exp.Update,
    columns: Sequence[tuple[str, str]],
    partition: Partition | None = None,
) -> exp.Update:
    """An UPDATE whose values have the types of their columns, as other engines convert them.

    A row whose partitioned column changes gets the value of its new partition.
    """
    types = {name.lower(): type_ for name, type_ in columns}
    changed = statement.copy()
    for assignment in list(changed.expressions):
        type_ = types.get(assignment.this.name.lower())
        if type_ is not None:
            value = assignment.expression
            assignment.set("expression", exp.cast(value.copy(), type_, dialect=DIALECT))
        if partition is not None and assignment.this.name.lower() == partition.column.lower():
            moved = exp.EQ(
                this=exp.column(PARTITION_COLUMN),
                expression=partition_value(assignment.expression, partition),
            )
            changed.append("expressions", moved)
    return changed


def merge_of_update(statement: exp.Update) -> exp.Merge:
    """An UPDATE with FROM as a MERGE."""
    source = statement.args["from_"].this
    condition = statement.args["where"].this
    then = exp.Update(expressions=statement.expressions)
    return _merge(statement.this, source, condition, then)


def merge_of_delete(statement: exp.Delete) -> exp.Merge | None:
    """A DELETE of the rows that another table has as a MERGE; None if it is another DELETE."""
    where = statement.args.get("where")
    exists = where.this if where is not None else None
    if not isinstance(exists, exp.Exists) or not isinstance(exists.this, exp.Select):
        return None
    select = exists.this
    parts = {key for key, value in select.args.items() if value}
    if parts - {"expressions", "from_", "where", "kind", "operation_modifiers"}:
        return None
    condition = select.args["where"].this
    if condition.find(exp.Query):
        return None
    return _merge(statement.this, select.args["from_"].this, condition, exp.Var(this="DELETE"))


def _merge(target: exp.Expr, source: exp.Expr, condition: exp.Expr, then: exp.Expr) -> exp.Merge:
    when = exp.When(matched=True, source=False, then=then)
    return exp.Merge(this=target, using=source, on=condition, whens=exp.Whens(expressions=[when]))


def remaining_rows(statement: exp.Delete) -> exp.Select:
    """The rows that a DELETE leaves: those whose condition is not true."""
    condition = statement.args["where"].this.copy()
    is_deleted = exp.func("COALESCE", exp.paren(condition, copy=False), exp.false())
    table = cast(exp.Table, statement.this.copy())
    every = exp.Column(this=exp.Star(), table=exp.to_identifier(table.alias_or_name, quoted=True))
    return exp.select(every).from_(table).where(exp.not_(is_deleted))


def with_epoch_seconds(tree: exp.Expr) -> exp.Expr:
    """`EXTRACT(EPOCH FROM …)` in words that Spark has, also for the time between two timestamps."""
    for node in list(tree.find_all(exp.Extract)):
        if node.name.upper() != "EPOCH":
            continue
        value = node.expression.unnest()
        ends = (value.this, value.expression) if isinstance(value, exp.Sub) else (value,)
        micros = [exp.func("UNIX_MICROS", end.copy()) for end in ends]
        counted = (
            exp.paren(exp.Sub(this=micros[0], expression=micros[1]))
            if len(micros) > 1
            else micros[0]
        )
        seconds = exp.Div(this=counted, expression=exp.Literal.number(MICROSECONDS))
        node.replace(exp.paren(seconds))
    return tree


def without_is_true(tree: exp.Expr) -> exp.Expr:
    """`x IS TRUE` as COALESCE: Sail fails where it is computed for a column."""
    for node in list(tree.find_all(exp.Is)):
        if isinstance(node.expression, exp.Boolean):
            value = exp.paren(node.this.copy())
            asked = value if node.expression.this else exp.not_(value)
            node.replace(exp.func("COALESCE", asked, exp.false()))
    return tree


def is_empty(query: exp.Query) -> bool:
    """Whether a query says that it has no rows, as for a table that is only laid out."""
    where = query.args.get("where")
    return where is not None and isinstance(where.this, exp.Boolean) and not where.this.this


def altered_rows(
    columns: Sequence[tuple[str, str]], target: exp.Table, action: exp.Expr
) -> exp.Query:
    """The rows of a table after an ALTER."""
    altered: list[exp.Expr] = []
    for name, _ in columns:
        column = exp.column(name, quoted=True)
        if isinstance(action, exp.RenameColumn) and action.this.name == name:
            altered.append(exp.alias_(column, action.args["to"].name, quoted=True))
        elif isinstance(action, exp.AlterColumn) and action.name == name:
            retyped = exp.cast(column, action.args["dtype"].copy())
            altered.append(exp.alias_(retyped, name, quoted=True))
        elif isinstance(action, exp.Drop) and _dropped_column(action) == name:
            continue
        else:
            altered.append(column)
    if isinstance(action, exp.ColumnDef):
        added = exp.cast(exp.null(), action.args["kind"].copy())
        altered.append(exp.alias_(added, action.name, quoted=True))
    return exp.select(*altered).from_(target.copy())


def _dropped_column(action: exp.Drop) -> str:
    (column,) = action.args.get("tables") or (action.this,)
    return str(column.name)
