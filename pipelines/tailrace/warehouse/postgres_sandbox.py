"""What the SQL of a model may do on PostgreSQL: compute rows from landed tables and from models.

A model is checked twice before its first row is computed. The names in its text are checked before
the server binds it. Then the server binds it as a temporary view, and the functions, operators and
tables that it resolved are read from the view's stored syntax tree: a name that the text check did
not recognize, an operator or a function behind a cast is found there. The statements that run a
model are read-only transactions besides (see `Warehouse.run`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from tailrace.dataclass import dataclass
from tailrace.errors import NotAllowedInModel
from tailrace.warehouse.refusals import not_allowed, refusal
from tailrace.warehouse.sandbox import Violation, refused_function

# PostgreSQL's own functions that depend on the time zone or the locale, and on nothing else.
POSTGRES_STABLE = frozenset(
    {
        *("age", "array_to_json", "array_to_string", "concat", "concat_ws", "convert"),
        *("convert_from", "convert_to", "date", "date_part", "date_trunc", "enum_first"),
        *("enum_last", "enum_range", "extract", "format", "generate_series", "in_range"),
        *("json_agg", "json_build_array", "json_build_object", "json_object_agg"),
        *("json_populate_record", "json_populate_recordset", "json_to_record"),
        *("json_to_recordset", "json_to_tsvector", "jsonb_agg", "jsonb_build_array"),
        *("jsonb_build_object", "jsonb_object_agg", "jsonb_path_exists_tz"),
        *("jsonb_path_match_tz", "jsonb_path_query_array_tz", "jsonb_path_query_first_tz"),
        *("jsonb_path_query_tz", "jsonb_populate_record", "jsonb_populate_recordset"),
        *("jsonb_to_record", "jsonb_to_recordset", "jsonb_to_tsvector", "length"),
        *("make_timestamptz", "money", "now", "numeric", "overlaps", "phraseto_tsquery"),
        *("plainto_tsquery", "quote_literal", "quote_nullable", "row_to_json"),
        *("statement_timestamp", "time", "timestamp", "timestamptz", "timetz", "timezone"),
        *("to_char", "to_date", "to_json", "to_jsonb", "to_number", "to_timestamp"),
        *("to_tsquery", "to_tsvector", "transaction_timestamp", "ts_headline"),
        *("websearch_to_tsquery",),
    }
)
# The other functions of these families read files, settings, the catalog or SQL texts.
_POSTGRES_PURE = frozenset({"pg_size_bytes", "pg_size_pretty", "pg_typeof"})
_POSTGRES_READERS = re.compile(
    r"pg_|lo_|dblink|currtid|binary_upgrade|current_setting$|set_config$"
    r"|(query|table|schema|database|cursor)_to_xml"
)
_UNICODE_NAME = re.compile(r"\bu&\s*\"", re.IGNORECASE)
_DATA_CHANGES = frozenset({"COMMAND", "COPY", "DELETE", "INSERT", "MERGE", "UPDATE"})


def postgres_calls(sql: str) -> frozenset[str]:
    """The names in a SELECT that PostgreSQL may read as a function's.

    A name before a bracket is one, and `row.name` is read as `name(row)` where no column has
    that name.
    """
    return frozenset(name for name, _ in _postgres_calls(sql))


def _postgres_calls(sql: str) -> Iterator[tuple[str, int]]:
    # A DuckDB warehouse does not need it.
    import sqlglot
    from sqlglot.errors import TokenError

    try:
        tokens = sqlglot.tokenize(sql, read="postgres")
    except TokenError:
        return
    for place, token in enumerate(tokens):
        name = token.text.lower()
        if token.token_type.name in ("STRING", "NUMBER") or not re.fullmatch(r"\w+", name):
            continue
        following = tokens[place + 1].token_type.name if place + 1 < len(tokens) else ""
        before = tokens[place - 1].token_type.name if place else ""
        if following == "L_PAREN" or (before == "DOT" and _POSTGRES_READERS.match(name)):
            yield name, token.start


def postgres_violations(sql: str, listed: list[tuple[Any, ...]]) -> tuple[Violation, ...]:
    """What PostgreSQL would do for this SELECT beyond computing rows from tables.

    Args:
        sql: The SELECT.
        listed: Name and class of each function in it that the server has: 2 for immutable ones, 1
            for stable ones of the server itself, 0 for all others.
    """
    import sqlglot

    if unicode_name := _UNICODE_NAME.search(sql):
        message = 'A name of the form U&"…" is not allowed in a model'
        return (Violation(message=message, offset=unicode_name.start()),)
    classes = {str(name): int(kind) for name, kind in listed}
    found = [
        refused_function(name, offset)
        for name, offset in _postgres_calls(sql)
        if not _is_postgres_pure(name, classes.get(name))
    ]
    for token in sqlglot.tokenize(sql, read="postgres"):
        if token.token_type.name in _DATA_CHANGES:
            message = f"{token.text.upper()} is not a SELECT"
            found.append(Violation(message=message, offset=token.start))
    return tuple(sorted(found, key=lambda violation: violation.offset))


def _is_postgres_pure(name: str, kind: int | None) -> bool:
    if _POSTGRES_READERS.match(name):
        return name in _POSTGRES_PURE
    # The server has no function of this name: it is a type, a keyword or a table.
    return kind is None or kind == 2 or (kind == 1 and name in POSTGRES_STABLE)


# What the server resolved. The fields of its stored syntax trees have these names since version 12.
_FUNCTION_OIDS = re.compile(r":(?:funcid|aggfnoid|winfnoid) (\d+)")
_OPERATOR_OIDS = re.compile(r":opno (\d+)|:opnos \(o ([\d ]+)\)")
_TABLE_OIDS = re.compile(r":relid (\d+)")
_COMMANDS = re.compile(r":commandType (\d+)")
# Words without brackets, such as current_date (0) and current_user (10).
_WORDS = re.compile(r"\{SQLVALUEFUNCTION :op (\d+)")
_CLOCK_WORDS_MAX = 8
_SESSION_WORDS = {
    9: "current_role",
    10: "current_user",
    11: "user",
    12: "session_user",
    13: "current_catalog",
    14: "current_schema",
}
# Texts of these types are looked up in the catalog: functions, operators, tables, roles, schemas.
_CATALOG_TYPES = re.compile(r":(?:resulttype|consttype|funcresulttype) (?:24|220[2-5]|4089|4096) ")


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """The object identifiers in a view's stored syntax tree, with a comma before and after each."""

    functions: str
    operators: str
    tables: str


def resolved_objects(tree: str) -> Resolved:
    """The functions, operators and tables that the server resolved in a view."""
    operators = [number for found in _OPERATOR_OIDS.findall(tree) for number in found if number]
    return Resolved(
        functions=_listed(_FUNCTION_OIDS.findall(tree)),
        operators=_listed(" ".join(operators).split()),
        tables=_listed(_TABLE_OIDS.findall(tree)),
    )


def _listed(numbers: Sequence[str]) -> str:
    return "".join(f",{number}" for number in sorted(set(numbers))) + ","


def view_violation(
    run: Callable[..., Sequence[tuple[Any, ...]]],
    name: str,
    *,
    schemas: frozenset[str],
    allowed: Collection[tuple[str, str]],
) -> NotAllowedInModel | None:
    """What a model may not do, by what PostgreSQL resolved in a temporary view of it.

    Args:
        run: Runs a statement by its name.
        name: The name of the view.
        schemas: As of `tree_violations`.
        allowed: As of `tree_violations`.
    """
    ((number, tree),) = run("warehouse/view_tree", name=name)
    objects = resolved_objects(tree)
    violations = tree_violations(
        tree,
        functions=run(
            "warehouse/resolved_functions", functions=objects.functions, operators=objects.operators
        ),
        tables=run("warehouse/resolved_tables", tables_=objects.tables, described=number),
        schemas=schemas,
        allowed=allowed,
    )
    return not_allowed(violations[0]) if violations else None


def tree_violations(
    tree: str,
    *,
    functions: Sequence[tuple[Any, ...]],
    tables: Sequence[tuple[Any, ...]],
    schemas: frozenset[str],
    allowed: Collection[tuple[str, str]] = (),
) -> tuple[str, ...]:
    """What a model would do beyond computing rows from its tables, as messages.

    Args:
        tree: The stored syntax tree of a view of the model.
        functions: Name, schema, volatility (`i`, `s` or `v`) of each function in it, whether an
            extension has it, and whether it belongs to an operator or a cast.
        tables: Schema and name of each table in it.
        schemas: The schemas that a model may read.
        allowed: Tables of other schemas that it may read, as schema and name.
    """
    messages = [message for row in functions if (message := _function_problem(*row))]
    messages += [
        f"{schema}.{name} is neither a model nor a landed object"
        for schema, name in tables
        if schema not in schemas and (schema, name) not in allowed
    ]
    if set(_COMMANDS.findall(tree)) - {"1"}:
        messages.append("A statement inside the model is not a SELECT")
    if ":rowMarks ({" in tree:
        messages.append("FOR UPDATE and FOR SHARE are not allowed in a model: they lock rows")
    for number in sorted({int(word) for word in _WORDS.findall(tree)}):
        if number > _CLOCK_WORDS_MAX:
            word = _SESSION_WORDS.get(number, "a word of the session")
            messages.append(f"{word} is not allowed in a model: it does not depend on rows")
    if _CATALOG_TYPES.search(tree):
        messages.append("A cast to regclass or a similar type reads the catalog")
    return tuple(messages)


def _function_problem(
    name: str, schema: str, volatility: str, in_extension: bool, is_operator_or_cast: bool
) -> str:
    if schema != "pg_catalog":
        # An extension is installed by an administrator; another function may do anything.
        if in_extension and volatility == "i":
            return ""
        return f"{name}() is stored in the warehouse, and a model calls built-in ones only"
    if is_operator_or_cast and volatility != "v":
        # A comparison of times of two types is stable, since it depends on the time zone.
        return ""
    kinds = {"i": 2, "s": 1}
    return "" if _is_postgres_pure(name, kinds.get(volatility, 0)) else refusal(name)
