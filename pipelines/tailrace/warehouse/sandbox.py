"""What the SQL of a model may do: compute rows from tables, and nothing else.

A model may come from a pull request and run beside secrets. The functions that it may call are
decided by what the engine itself lists about them; the names are read from the engine's own syntax
tree, so that no place in the statement is left out. On DuckDB the engine is locked as well, before
the first model is bound.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot.errors import TokenError

if TYPE_CHECKING:
    import duckdb

# Table functions that compute rows from their arguments. DuckDB lists no side effects for table
# functions, so each is named here; every other one reads files, settings, logs or the catalog.
TABLE_FUNCTIONS = frozenset(
    {"generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest"}
)
# Their value is fixed when a model runs (see `freeze_clock`).
CLOCKS = frozenset(
    {
        *("current_date", "get_current_time", "get_current_timestamp", "now", "today"),
        "transaction_timestamp",
    }
)
# Listed as free of side effects, but they run SQL texts or read what is no row of a table.
_READERS = frozenset(
    {"json_deserialize_sql", "json_serialize_plan", "json_serialize_sql", "version"}
    | {"parse_duckdb_log_message"}
)
# Written without brackets, these read the catalog.
_CATALOG_WORDS = frozenset({"current_catalog", "current_database", "current_schema"})
_TABLE_KINDS = frozenset(
    {"BASE_TABLE", "COLUMN_DATA", "CTE", "EMPTY", "EMPTY_FROM", "EXPRESSION_LIST", "JOIN"}
    | {"PIVOT", "SUBQUERY", "TABLE_FUNCTION"}
)
_QUERY_KINDS = frozenset(
    {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE", "VALUES_NODE"}
)
_STATEMENT_WORDS = frozenset(
    {"CALL", "COMMAND", "COPY", "DELETE", "DESCRIBE", "INSERT", "MERGE", "PRAGMA", "SHOW", "UPDATE"}
)


@dataclass(frozen=True, kw_only=True)
class Violation:
    """Something that a model must not do, and its place as a character offset in the SQL."""

    message: str
    offset: int


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A name in the engine's syntax tree.

    `kind` is `function`, `table_function`, `table`, `cte`, `column` or `statement`; `path` holds
    the parts of the name, and `offset` is a character offset, or -1 where the engine tells none.
    """

    kind: str
    path: tuple[str, ...]
    offset: int
    alias: str = ""


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    """An engine without data, files or extensions, which only reads syntax."""
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "enable_external_access": False,
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
            "threads": 1,
        },
    )
    connection.execute("SET lock_configuration = true")
    return connection


def duckdb_references(sql: str) -> list[Reference] | None:
    """Every name in one or several SELECTs, as DuckDB parses them.

    Returns:
        None if DuckDB cannot show the syntax tree: the text does not parse, or it is a statement
        such as a PIVOT without its values.
    """
    import duckdb

    try:
        with _engine().cursor() as cursor:
            row = cursor.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
    except duckdb.Error:
        return None
    tree = json.loads(row[0]) if row else {"error": True}
    if tree.get("error"):
        return None
    encoded = sql.encode()

    def offset(node: dict[str, Any]) -> int:
        at = node.get("query_location", -1)
        return len(encoded[:at].decode(errors="ignore")) if 0 <= at < len(encoded) else -1

    return list(_references(tree["statements"], offset, -1))


def _references(
    node: Any, offset: Callable[[dict[str, Any]], int], near: int
) -> Iterator[Reference]:
    """Walk the tree without recursion limits of its own: the engine bounds its depth."""
    stack: list[tuple[Any, str, int]] = [(node, "", near)]
    while stack:
        at, key, near = stack.pop()
        if isinstance(at, list):
            stack.extend((item, key, near) for item in at)
            continue
        if not isinstance(at, dict):
            continue
        here = offset(at)
        near = here if here >= 0 else near
        kind = str(at.get("type", ""))
        if "function_name" in at:
            path = [at.get("catalog"), at.get("schema"), at["function_name"]]
            function_kind = "table_function" if key == "table_function" else "function"
            yield Reference(kind=function_kind, path=_path(path), offset=near)
        elif kind == "BASE_TABLE":
            path = [at.get("catalog_name"), at.get("schema_name"), at.get("table_name")]
            alias = str(at.get("alias") or "")
            yield Reference(kind="table", path=_path(path), offset=near, alias=alias)
        elif kind == "COLUMN_REF":
            yield Reference(kind="column", path=_path(at.get("column_names", [])), offset=near)
        elif _is_other_statement(at, kind):
            yield Reference(kind="statement", path=(kind,), offset=near)
        for entry in at.get("cte_map", {}).get("map", ()):
            yield Reference(kind="cte", path=(str(entry["key"]).lower(),), offset=near)
        for name, value in at.items():
            is_call = kind == "TABLE_FUNCTION" and name == "function"
            stack.append((value, "table_function" if is_call else name, near))


def _is_other_statement(node: dict[str, Any], kind: str) -> bool:
    is_table = "sample" in node and "alias" in node
    return (is_table and kind not in _TABLE_KINDS) or (
        kind.endswith("_NODE") and kind not in _QUERY_KINDS
    )


def _path(parts: list[Any]) -> tuple[str, ...]:
    return tuple(str(part).lower() for part in parts if part)


@cache
def duckdb_functions() -> tuple[frozenset[str], frozenset[str]]:
    """The functions that DuckDB lists, and those of them that a model may call."""
    with _engine().cursor() as cursor:
        listed = cursor.execute(
            "SELECT lower(function_name), function_type, stability, has_side_effects,"
            " macro_definition FROM duckdb_functions()"
        ).fetchall()
    names = frozenset(str(row[0]) for row in listed)
    scalars = {row[0] for row in listed if row[1] in ("aggregate", "macro", "scalar", "window")}
    unstable = {row[0] for row in listed if row[2] not in (None, "CONSISTENT")} - CLOCKS
    # Written as an expression, a table function is refused here, unless it has a scalar namesake.
    refused = set(names - scalars - TABLE_FUNCTIONS)
    macros: list[tuple[str, str]] = []
    for name, kind, _, side_effects, definition in listed:
        if kind == "macro":
            macros.append((name, definition))
        elif kind not in ("aggregate", "scalar", "window"):
            continue
        elif side_effects or name.startswith("__") or name in _READERS | unstable:
            refused.add(name)
    # A macro may call another one, so the search goes on until it adds nothing.
    known = 0
    while known != len(refused):
        known = len(refused)
        refused |= {name for name, body in macros if not _is_pure_macro(body, refused)}
    return names, names - refused


def _is_pure_macro(definition: str, refused: set[str]) -> bool:
    # An error with a fixed text, as in json_group_object, shows no value.
    body = re.sub(r'"error"\(\'[^\']*\'\)', "NULL", definition)
    references = duckdb_references(f"SELECT {body}") if definition else None
    if references is None:
        return False
    for reference in references:
        if reference.kind == "table" or reference.kind == "statement":
            return False
        if reference.kind == "table_function" and reference.path[-1] not in TABLE_FUNCTIONS:
            return False
        if reference.kind == "function" and reference.path[-1] in refused:
            return False
    return True


def duckdb_violations(sql: str) -> tuple[Violation, ...]:
    """What DuckDB would do for this SELECT beyond computing rows from tables."""
    references = duckdb_references(sql)
    if references is None:
        return tuple(_violations_by_token(sql))
    names, allowed = duckdb_functions()
    found: dict[tuple[str, int], Violation] = {}
    for reference in references:
        message = _problem(reference, names, allowed)
        if message is not None:
            at = max(reference.offset, 0)
            found.setdefault((message, at), Violation(message=message, offset=at))
    return tuple(sorted(found.values(), key=lambda violation: violation.offset))


def _problem(reference: Reference, names: frozenset[str], allowed: frozenset[str]) -> str | None:
    name = reference.path[-1] if reference.path else ""
    if reference.kind == "statement":
        word = name.removesuffix("_node").removesuffix("_QUERY_NODE").replace("_", " ")
        return f"{word} is not a SELECT"
    if reference.kind == "table_function":
        # A macro of the warehouse is not in the list, and reads only what the lock lets it read.
        refused = name in names and name not in TABLE_FUNCTIONS
        return _refusal(name) if refused else None
    if reference.kind == "function":
        return _refusal(name) if name in names and name not in allowed else None
    if reference.kind == "column" and len(reference.path) == 1 and name in _CATALOG_WORDS:
        return _refusal(name)
    return None


def _refusal(name: str) -> str:
    return f"{name}() is not allowed in a model: it does not compute from its arguments alone"


def _violations_by_token(sql: str) -> Iterator[Violation]:
    """The same for text whose tree DuckDB does not show: by each name before a bracket."""
    names, allowed = duckdb_functions()
    refused = (names - allowed) | {"json_execute_serialized_sql"}
    try:
        tokens = sqlglot.tokenize(sql, read="duckdb")
    except TokenError:
        return
    for place, token in enumerate(tokens):
        name, following = token.text.lower(), tokens[place + 1 : place + 2]
        called = bool(following) and following[0].token_type.name == "L_PAREN"
        if token.token_type.name != "STRING" and called and name in refused:
            yield Violation(message=_refusal(name), offset=token.start)
        elif token.token_type.name in _STATEMENT_WORDS and not _is_part(tokens, place):
            yield Violation(message=f"{token.text.upper()} is not a SELECT", offset=token.start)


def _is_part(tokens: list[Any], place: int) -> bool:
    """Whether a word is a part of a name, such as `t.show`, or is called, or is an alias."""
    before = tokens[place - 1].token_type.name if place else ""
    after = tokens[place + 1].token_type.name if place + 1 < len(tokens) else ""
    return before in ("DOT", "ALIAS") or after in ("DOT", "L_PAREN")


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
    if unicode_name := _UNICODE_NAME.search(sql):
        message = 'A name of the form U&"…" is not allowed in a model'
        return (Violation(message=message, offset=unicode_name.start()),)
    classes = {str(name): int(kind) for name, kind in listed}
    found = [
        Violation(message=_refusal(name), offset=offset)
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
