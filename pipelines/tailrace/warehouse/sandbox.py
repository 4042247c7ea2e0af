"""What the SQL of a model may do: compute rows from tables, and nothing else.

A model may come from a pull request and run beside secrets. The functions that it may call are
decided by what the engine itself lists about them; the names are read from the engine's own syntax
tree, so that no place in the statement is left out. On DuckDB the engine is locked as well, before
the first model is bound. For PostgreSQL see `postgres_sandbox`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Literal

from tailrace.config.project import did_you_mean
from tailrace.dataclass import dataclass
from tailrace.errors import ModelDoesNotBind, ModelError, NotAllowedInModel, SqlDoesNotParse
from tailrace.warehouse.driver import driver
from tailrace.warehouse.refusals import reason_of, refusal

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
_ZONED = re.compile(r"WITH TIME ZONE|TIMESTAMPTZ")
# Listed as free of side effects, but they run SQL texts or read what is not a row of a table.
_READERS = frozenset(
    {"json_deserialize_sql", "json_serialize_plan", "json_serialize_sql", "version"}
    # DuckDB 1.5 lists these as free of side effects, later versions do not.
    | {"current_setting", "getenv", "getvariable", "parse_duckdb_log_message"}
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
# Texts that one statement parses at most.
PARSED_TOGETHER_MAX = 1_000
# The syntax trees, as JSON, of texts that were parsed together and not asked for yet.
_parsed: dict[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Violation:
    """Something that a model must not do, and its place as a character offset in the SQL.

    `kind` is `refused` for what does more than compute rows, `unknown` for a function that is not
    built in, and `syntax` for a text that the engine does not parse. `hint` says what to write
    instead of a refused function.
    """

    message: str
    offset: int
    kind: Literal["refused", "unknown", "syntax"] = "refused"
    hint: str | None = None

    def as_error(self, *, file: str | None, line: int | None = None) -> ModelError:
        """The error to raise for it."""
        if self.kind == "syntax":
            return SqlDoesNotParse(self.message, file=file, line=line)
        if self.kind == "unknown":
            hint = (
                "Use a built-in function. SQL of another engine needs its dialect in the header, "
                "such as: dialect: postgres"
            )
            return ModelDoesNotBind(self.message, hint=hint, file=file, line=line)
        return NotAllowedInModel(self.message, hint=self.hint, file=file, line=line)


def refused_function(name: str, offset: int) -> Violation:
    """The violation of a model that calls a function which is refused."""
    return Violation(message=refusal(name), offset=offset, hint=reason_of(name).hint)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A name in the engine's syntax tree.

    `kind` is `function`, `table_function`, `table`, `cte`, `column`, `parameter` or `statement`;
    `path` holds the parts of the name, and `offset` is a character offset, or -1 where the engine
    gives none.
    """

    kind: str
    path: tuple[str, ...]
    offset: int
    alias: str = ""


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    """An engine without data, files or extensions, which only reads syntax."""
    connection: duckdb.DuckDBPyConnection = driver().connect(
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


@lru_cache(maxsize=64)
def duckdb_references(sql: str) -> tuple[Reference, ...] | None:
    """Every name in one or several SELECTs, as DuckDB parses them.

    Returns:
        None if DuckDB cannot show the syntax tree: the text does not parse, or it is a statement
        such as a PIVOT without its values.
    """
    tree = _syntax_tree(sql)
    if tree.get("error"):
        return None
    encoded = sql.encode()

    def offset(node: dict[str, Any]) -> int:
        at = node.get("query_location", -1)
        return len(encoded[:at].decode(errors="ignore")) if 0 <= at < len(encoded) else -1

    return tuple(_references(tree["statements"], offset, -1))


def parse_together(texts: Iterable[str]) -> None:
    """Parse texts by one statement, before `duckdb_references` asks for each of them.

    A statement of its own takes several times as long as parsing the text of a model.
    """
    parsed = list(dict.fromkeys(texts))[:PARSED_TOGETHER_MAX]
    _parsed.clear()
    if len(parsed) < 2:
        return
    sql = "SELECT text, json_serialize_sql(text) FROM (SELECT UNNEST(?::VARCHAR[]) AS text)"
    # An error stops the whole statement. The text at fault is found when each is parsed alone.
    with suppress(driver().Error), _engine().cursor() as cursor:
        _parsed.update(cursor.execute(sql, [parsed]).fetchall())


def _syntax_tree(sql: str) -> dict[str, Any]:
    """DuckDB's syntax tree; `error` is true if there is none, with `error_message`."""
    parsed = _parsed.pop(sql, None)
    if parsed is not None:
        return dict(json.loads(parsed))
    try:
        with _engine().cursor() as cursor:
            row = cursor.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
    except driver().Error as error:
        return {"error": True, "error_message": str(error)}
    return dict(json.loads(row[0])) if row else {"error": True}


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
        elif kind == "VALUE_PARAMETER":
            yield Reference(kind="parameter", path=_path([at.get("identifier")]), offset=near)
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


@dataclass(frozen=True, kw_only=True)
class _ListedFunctions:
    """The functions that DuckDB lists. Whether a macro is refused depends on its definition."""

    names: frozenset[str]
    refused: frozenset[str]
    macros: tuple[tuple[str, str], ...]


@cache
def _listed_functions() -> _ListedFunctions:
    with _engine().cursor() as cursor:
        listed = cursor.execute(
            "SELECT lower(function_name), function_type, stability, has_side_effects,"
            " macro_definition, parameter_types, return_type FROM duckdb_functions()"
        ).fetchall()
    names = frozenset(str(row[0]) for row in listed)
    scalars = {row[0] for row in listed if row[1] in ("aggregate", "macro", "scalar", "window")}
    unstable = {
        name
        for name, _, stability, *_, parameters, returned in listed
        if stability not in (None, "CONSISTENT")
        # Since 2.0.1, what depends on the session's time zone, which is always UTC, is not either.
        and not (parameters and any(_ZONED.search(str(type_)) for type_ in (*parameters, returned)))
    } - CLOCKS
    # Written as an expression, a table function is refused here, unless it has a scalar namesake.
    refused = set(names - scalars - TABLE_FUNCTIONS)
    macros: list[tuple[str, str]] = []
    for name, kind, _, side_effects, definition, _, _ in listed:
        if kind == "macro":
            macros.append((name, definition))
        elif kind not in ("aggregate", "scalar", "window"):
            continue
        elif side_effects or name.startswith("__") or name in _READERS | unstable:
            refused.add(name)
    return _ListedFunctions(names=names, refused=frozenset(refused), macros=tuple(macros))


@cache
def duckdb_functions() -> tuple[frozenset[str], frozenset[str]]:
    """The functions that DuckDB lists, and those of them that a model may call."""
    listed = _listed_functions()
    refused = set(listed.refused)
    # A macro may call another one, so the search goes on until it adds nothing.
    known = 0
    while known != len(refused):
        known = len(refused)
        refused |= {name for name, body in listed.macros if not _is_pure_macro(body, refused)}
    return listed.names, listed.names - refused


@cache
def _is_allowed(name: str) -> bool:
    """Whether a model may call a function. Macros are only read for the name of one."""
    listed = _listed_functions()
    if any(name == macro for macro, _ in listed.macros):
        return name in duckdb_functions()[1]
    return name in listed.names and name not in listed.refused


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


def duckdb_violations(
    sql: str, *, stored: Callable[[], frozenset[str]] = frozenset
) -> tuple[Violation, ...]:
    """What DuckDB would do for this SELECT beyond computing rows from tables.

    Args:
        sql: The SELECT.
        stored: Gives the functions that are stored in the warehouse, such as macros. None may be
            called: a stored one takes precedence over a built-in one of its name. Listing them
            takes as long as a small query, so they are asked for if the SELECT calls a function.
    """
    references = duckdb_references(sql)
    if references is None:
        return (_unreadable(sql),)
    by_place: dict[tuple[str, int], Violation] = {}
    for reference in references:
        violation = _violation(reference, stored)
        if violation is not None:
            by_place.setdefault((violation.message, violation.offset), violation)
    return tuple(sorted(by_place.values(), key=lambda violation: violation.offset))


def syntax_error(sql: str) -> Violation | None:
    """Where DuckDB's parser stops; None if it parses the text."""
    tree = _syntax_tree(sql)
    if tree.get("error_type") != "parser":
        return None
    position = int(tree.get("position") or 0)
    offset = len(sql.encode()[:position].decode(errors="ignore"))
    message = f"DuckDB cannot parse the SQL: {tree.get('error_message')}"
    return Violation(message=message, offset=offset, kind="syntax")


def _unreadable(sql: str) -> Violation:
    """Why DuckDB shows no syntax tree: its error, or a statement other than a plain SELECT."""
    if error := syntax_error(sql):
        return error
    if pivot := re.search(r"\bPIVOT", sql, re.IGNORECASE):
        message = "PIVOT needs a list of its values, such as: ON stage IN ('Open', 'Won')"
        return Violation(message=message, offset=pivot.start())
    return Violation(message="The statement is not a SELECT", offset=0)


def _violation(reference: Reference, stored: Callable[[], frozenset[str]]) -> Violation | None:
    name = reference.path[-1] if reference.path else ""
    offset = max(reference.offset, 0)
    if reference.kind == "statement":
        word = name.removesuffix("_node").removesuffix("_QUERY_NODE").replace("_", " ")
        return Violation(message=f"{word} is not a SELECT", offset=offset)
    if reference.kind in ("function", "table_function"):
        is_table = reference.kind == "table_function"
        if name in stored():
            message = f"{name}() is stored in the warehouse, and a model calls built-in ones only"
            return Violation(message=message, offset=offset, kind="unknown")
        if name not in _listed_functions().names:
            _, allowed = duckdb_functions()
            similar = did_you_mean(name, sorted(TABLE_FUNCTIONS if is_table else allowed))
            message = f"DuckDB has no built-in function {name}().{similar}"
            return Violation(message=message, offset=offset, kind="unknown")
        if not (name in TABLE_FUNCTIONS if is_table else _is_allowed(name)):
            return refused_function(name, offset)
    is_word = reference.kind == "column" and len(reference.path) == 1
    if is_word and name in _CATALOG_WORDS:
        return refused_function(name, offset)
    return None
