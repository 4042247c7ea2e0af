"""Run a parsed query on the rows of its object."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.testing.org.describe import Field, SObject
from tailrace.testing.org.generated_rows import checksum
from tailrace.testing.org.rows import COMPOUND, Rows
from tailrace.testing.salesforce.behavior import OrgBehavior
from tailrace.testing.salesforce.soql import (
    Compare,
    Condition,
    Literal,
    NotPlayed,
    Query,
    SoqlError,
    compares,
)

Column = Callable[[str], pa.Array]

_APPEND_C = (
    "If you are attempting to use a custom field, be sure to append the '__c' after the custom"
    " field name. Please reference your WSDL or the describe call for the appropriate names."
)
_TOO_MANY_ROWS = {
    "QUERY_TIMEOUT": "Your query request was running for too long.",
    "OPERATION_TOO_LARGE": "exceeded 100000 distinct who/what's",
}
_LITERAL_OF = {
    "boolean": ("boolean",),
    "int": ("number",),
    "long": ("number",),
    "double": ("number",),
    "percent": ("number",),
    "currency": ("number",),
    "date": ("date", "days"),
    "datetime": ("datetime", "days"),
}
_ORDERED: dict[str, Callable[..., pa.Array]] = {
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


@dataclass(frozen=True)
class Part:
    """Some rows of a result. `key` identifies their content if it never changes."""

    rows: int
    column: Column
    key: Hashable = None


@dataclass(frozen=True)
class Piece:
    """The rows of one part that belong to one page."""

    part: Part
    offset: int
    rows: int

    def column(self, name: str) -> pa.Array:
        """One column of these rows."""
        return self.part.column(name).slice(self.offset, self.rows)


@dataclass(frozen=True, kw_only=True)
class Result:
    """The rows of a query, fixed when it ran."""

    query: Query
    spec: SObject
    fields: tuple[Field, ...]
    parts: tuple[Part, ...]
    raws: dict[str, dict[str, bytes]]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(part.rows for part in self.parts)

    def pieces(self, offset: int, rows: int) -> Iterator[Piece]:
        """The rows of one page."""
        for part in self.parts:
            if rows <= 0:
                return
            if offset < part.rows:
                taken = min(rows, part.rows - offset)
                yield Piece(part, offset, taken)
                rows -= taken
                offset = 0
            else:
                offset -= part.rows


def check(query: Query, spec: SObject | None) -> tuple[Field, ...]:
    """The selected fields; raises SoqlError if the query does not fit the object."""
    if spec is None:
        message = (
            f"sObject type '{query.sobject}' is not supported. If you are attempting to use a"
            " custom object, be sure to append the '__c' after the entity name. Please reference"
            " your WSDL or the describe call for the appropriate names."
        )
        raise SoqlError("INVALID_TYPE", message, query.text, query.sobject_at)
    if not spec.queryable:
        message = f"entity type {spec.name} does not support query"
        raise SoqlError("INVALID_TYPE_FOR_OPERATION", message)
    if query.count and not spec.countable:
        message = f"entity type {spec.name} does not support aggregate queries"
        raise SoqlError("INVALID_TYPE_FOR_OPERATION", message)
    for name, _ in query.fields:
        if "." in name:
            raise NotPlayed(f"the parent field {name}")
    fields = [_field(query, spec, name, at) for name, at in query.fields]
    names = [field.name for field in fields]
    for name in names:
        if names.count(name) > 1:
            raise SoqlError("INVALID_FIELD", f"duplicate field selected: {name}")
    for compare in compares(query.where):
        field = _field(query, spec, compare.field, compare.at)
        if not field.can_filter or field.type in COMPOUND:
            message = f"field '{field.name}' can not be filtered in a query call"
            raise SoqlError("INVALID_FIELD", message, query.text, compare.at)
        for literal in compare.literals:
            _check_literal(query, compare, field, literal)
    for order in query.order:
        field = _field(query, spec, order.field, order.at)
        if not field.can_sort:
            message = f"field '{field.name}' can not be sorted in a query call"
            raise SoqlError("INVALID_FIELD", message, query.text, order.at)
    _check_filter(query, spec)
    return tuple(fields)


def select(query: Query, rows: Rows, *, deleted: bool) -> Result:
    """Run a query; with `deleted`, soft-deleted rows are included."""
    spec = rows.spec
    fields = check(query, spec)
    parts = [part for part in _parts(query, rows, fields, deleted=deleted) if part.rows]
    if query.order:
        parts = [_sorted(query, spec, parts, needed_columns(spec, fields))]
    return Result(
        query=query,
        spec=spec,
        fields=fields,
        parts=tuple(_limited(query, parts)),
        raws=rows.raws(),
    )


def too_many_rows(result: Result, behavior: OrgBehavior) -> str | None:
    """The error message if a result has more rows than the org answers at once."""
    rows_max = behavior.query_rows_max
    if rows_max is None or result.query.count or result.rows <= rows_max:
        return None
    return _TOO_MANY_ROWS[behavior.query_rows_error]


def repeated(result: Result, behavior: OrgBehavior) -> Result:
    """The result with its first rows again at its end, if the org repeats rows."""
    rows = min(behavior.repeated_rows, result.rows)
    copies: list[Part] = []
    for part in result.parts:
        taken = min(rows, part.rows)
        if taken:
            column = _window(part, 0, taken)
            if behavior.repeated_rows_stale:
                column = _stale(result.spec, column)
            copies.append(Part(taken, column))
        rows -= taken
    return replace(result, parts=(*result.parts, *copies))


def _stale(spec: SObject, column: Column) -> Column:
    """Columns of an earlier version: modified a day before, optional texts still empty."""

    def earlier(name: str) -> pa.Array:
        values = column(name)
        field = spec.find(name)
        if name == "SystemModstamp":
            return pc.subtract(values, pa.scalar(timedelta(days=1), pa.duration("ms")))
        if field is not None and field.type == "string" and field.nillable:
            return pa.nulls(len(values), values.type)
        return values

    return earlier


def needed_columns(spec: SObject, fields: tuple[Field, ...]) -> list[str]:
    """The stored columns of the selected fields: components in place of compound fields."""
    names: list[str] = []
    for field in fields:
        if field.type in COMPOUND:
            names += [item.name for item in spec.fields if item.compound == field.name]
        else:
            names.append(field.name)
    if "Id" not in names and spec.find("Id"):
        names.append("Id")
    return list(dict.fromkeys(names))


def mask(condition: Condition | None, spec: SObject, column: Column, rows: int) -> pa.Array | None:
    """Which rows a condition selects; None = all."""
    if condition is None:
        return None
    if isinstance(condition, Compare):
        return _compared(condition, spec, column)
    inner = [mask(part, spec, column, rows) for part in condition.parts]
    if condition.op == "not":
        return pc.invert(inner[0])
    combine = pc.and_ if condition.op == "and" else pc.or_
    kept = inner[0]
    for other in inner[1:]:
        kept = combine(kept, other)
    return kept


def _parts(query: Query, rows: Rows, fields: tuple[Field, ...], *, deleted: bool) -> Iterator[Part]:
    spec = rows.spec
    generated = rows.generated
    for chunk in range(generated.chunks if generated else 0):
        assert generated is not None
        yield _generated_part(query, rows, chunk)
    table = rows.table()
    kept = mask(query.where, spec, lambda name: _whole(table, name), table.num_rows)
    for name in () if deleted else _hidden_by(spec):
        alive = pc.invert(pc.fill_null(_whole(table, name), False))
        kept = alive if kept is None else pc.and_(kept, alive)
    wanted = dict.fromkeys(needed_columns(spec, fields))
    wanted.update((_canonical(spec, order.field), None) for order in query.order)
    table = table.select(list(wanted))
    if kept is not None:
        table = table.filter(kept)
    yield Part(table.num_rows, lambda name: _whole(table, name))


def _hidden_by(spec: SObject) -> list[str]:
    """Flags of rows that only queryAll returns: the recycle bin and archived activities."""
    flags = ["IsDeleted", *(["IsArchived"] if spec.name in ("Task", "Event") else [])]
    return [field.name for field in spec.fields if field.name in flags]


def _generated_part(query: Query, rows: Rows, chunk: int) -> Part:
    generated = rows.generated
    assert generated is not None
    size = generated.chunk_size(chunk)
    kept = mask(query.where, rows.spec, lambda name: generated.column(chunk, name), size)
    first = chunk * generated.chunk_rows
    hidden = [index - first for index in rows.shadowed if first <= index < first + size]
    if hidden:
        numbers = pa.array(range(size))
        visible = pc.invert(pc.is_in(numbers, pa.array(hidden)))
        kept = visible if kept is None else pc.and_(kept, visible)
    if kept is None or pc.all(kept).as_py():
        return Part(
            size,
            lambda name: generated.column(chunk, name),
            (rows.spec.name, generated.shape, chunk),
        )
    rows_kept = pc.sum(kept).as_py() or 0
    return Part(rows_kept, lambda name: generated.column(chunk, name).filter(kept))


def _sorted(query: Query, spec: SObject, parts: list[Part], names: list[str]) -> Part:
    """All rows as one part, sorted stably by the last term first."""
    keys = [_canonical(spec, order.field) for order in query.order]
    wanted = list(dict.fromkeys([*names, *keys]))
    table = pa.table(
        {name: pa.chunked_array([part.column(name) for part in parts]) for name in wanted if parts}
    )
    for key, order in reversed(list(zip(keys, query.order, strict=True))):
        if not parts:
            break
        direction = "descending" if order.descending else "ascending"
        indices = pc.sort_indices(table, [(key, direction)])
        nulls = table.column(key).null_count
        if nulls and not order.nulls_last:
            # Salesforce puts NULLs first unless the query says NULLS LAST, in both directions.
            last = len(indices) - nulls
            indices = pa.concat_arrays([indices[last:], indices[:last]])
        table = table.take(indices)
    return Part(table.num_rows, lambda name: _whole(table, name))


def _limited(query: Query, parts: list[Part]) -> Iterator[Part]:
    skip = query.offset or 0
    left = query.limit if query.limit is not None else sum(part.rows for part in parts)
    for part in parts:
        skipped = min(skip, part.rows)
        skip -= skipped
        rows = min(left, part.rows - skipped)
        left -= rows
        if rows == part.rows:
            yield part
        elif rows:
            yield Part(rows, _window(part, skipped, rows))


def _window(part: Part, offset: int, rows: int) -> Column:
    return lambda name: part.column(name).slice(offset, rows)


def _field(query: Query, spec: SObject, name: str, at: int) -> Field:
    field = spec.find(name)
    if field is None and "." in name:
        raise NotPlayed(f"the parent field {name}")
    if field is None:
        message = f"No such column '{name}' on entity '{spec.name}'. {_APPEND_C}"
        raise SoqlError("INVALID_FIELD", message, query.text, at)
    return field


def _check_literal(query: Query, compare: Compare, field: Field, literal: Literal) -> None:
    if literal.kind == "null":
        if compare.op not in ("=", "!=", "in", "not in"):
            message = "Invalid operator on null"
            raise SoqlError("INVALID_QUERY_FILTER_OPERATOR", message, query.text, compare.at)
        return
    expected = _LITERAL_OF.get(field.type, ("string",))
    if literal.kind not in expected:
        kind = {"datetime": "dateTime"}.get(field.type, field.type)
        quotes = "should be" if expected == ("string",) else "should not be"
        message = (
            f"value of filter criterion for field '{field.name}' must be of type {kind} and"
            f" {quotes} enclosed in quotes"
        )
        raise SoqlError("INVALID_FIELD", message, query.text, compare.at)
    if compare.op == "like" and expected != ("string",):
        message = "invalid operator on field"
        raise SoqlError("INVALID_QUERY_FILTER_OPERATOR", message, query.text, compare.at)
    if field.type in ("id", "reference") and compare.op != "like":
        record_id = str(literal.value)
        if not record_id.isalnum() or len(record_id) not in (15, 18):
            message = f"invalid ID field: {record_id}"
            raise SoqlError("INVALID_QUERY_FILTER_OPERATOR", message, query.text, compare.at)


def _check_filter(query: Query, spec: SObject) -> None:
    if not spec.needs_filter:
        return
    named = {_canonical(spec, compare.field) for compare in compares(query.where)}
    if not named & set(spec.needs_filter):
        wanted = ",".join(spec.needs_filter)
        message = f"{spec.name}: a filter on a reified column is required [{wanted}]"
        raise SoqlError("MALFORMED_QUERY", message)


def _compared(compare: Compare, spec: SObject, column: Column) -> pa.Array:
    field = spec.find(compare.field)
    assert field is not None
    values = column(field.name)
    negated = compare.op in ("!=", "not in")
    if compare.op in ("=", "!=", "in", "not in"):
        equal = _any_equal(field, values, compare.literals)
        return pc.invert(equal) if negated else equal
    literal = compare.literals[0]
    if compare.op == "like":
        matched = pc.match_like(values, str(literal.value), ignore_case=True)
        return pc.fill_null(matched, False)
    comparable, wanted = _comparable(field, values, literal)
    if literal.kind == "days":
        wanted = literal.value[1] if compare.op in (">", "<=") else literal.value[0]
        wanted = pa.scalar(wanted).cast(comparable.type)
        # "After today" starts where tomorrow does; "up to today" ends there.
        ordered = {">": pc.greater_equal, "<=": pc.less}.get(compare.op, _ORDERED[compare.op])
        return pc.fill_null(ordered(comparable, wanted), False)
    return pc.fill_null(_ORDERED[compare.op](comparable, wanted), False)


def _any_equal(field: Field, values: pa.Array, literals: tuple[Literal, ...]) -> pa.Array:
    equal: pa.Array | None = None
    plain = [literal for literal in literals if literal.kind not in ("null", "days")]
    if plain:
        comparable, _ = _comparable(field, values, plain[0])
        wanted = pa.array(
            [_comparable(field, values, literal)[1].as_py() for literal in plain], comparable.type
        )
        equal = pc.is_in(comparable, wanted)
    for literal in literals:
        if literal.kind == "null":
            matched = pc.is_null(values)
        elif literal.kind == "days":
            first, past = (pa.scalar(bound).cast(values.type) for bound in literal.value)
            inside = pc.and_(pc.greater_equal(values, first), pc.less(values, past))
            matched = pc.fill_null(inside, False)
        else:
            continue
        equal = matched if equal is None else pc.or_(equal, matched)
    assert equal is not None
    return equal


def _comparable(field: Field, values: pa.Array, literal: Literal) -> tuple[pa.Array, pa.Scalar]:
    """Both sides converted so that Arrow compares them as Salesforce does."""
    value: Any = literal.value
    if field.type in ("id", "reference"):
        return values, pa.scalar(value if len(value) == 18 else value + checksum(value))
    if pa.types.is_string(values.type):
        # Text comparisons ignore case, except for ids.
        return pc.utf8_lower(values), pa.scalar(str(value).lower())
    if literal.kind == "days":
        return values, pa.scalar(None, values.type)
    if pa.types.is_integer(values.type):
        return values.cast(pa.float64()), pa.scalar(value, pa.float64())
    return values, pa.scalar(value, values.type)


def _canonical(spec: SObject, name: str) -> str:
    field = spec.find(name)
    return field.name if field else name


def _whole(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name).combine_chunks()
    return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
