"""What a database driver's error means, and its message without values of rows."""

from __future__ import annotations

import re

from tailrace.errors import MemoryShort, StatementRefused, WarehouseFailed

# What an engine says about names and types quotes the SQL; what it says about a row's value
# quotes the value, and a value may be personal.
SAYS_NOTHING_PERSONAL = re.compile(
    r"Binder|Catalog|Parser|Syntax|Undefined|Duplicate(Column|Table|Alias)|Ambiguous|Datatype"
    r"|Grouping|Windowing|FeatureNotSupported|CannotCoerce|InsufficientPrivilege|InvalidColumn"
    r"|WrongObject"
)
# A message of the binder or the parser, however the exception that carries it is called.
_ABOUT_SQL = re.compile(r"(Binder|Catalog|Parser|Syntax) Error:|SQL compilation error:")
# What Snowflake's driver writes before a message: codes, and the id of the query.
_SNOWFLAKE_CODES = re.compile(r"\d{6} \(\w{5}\): (?:[0-9a-f-]{36}: )?")
_QUOTED_TEXT = re.compile(r"'(?:[^']|'')*'")
# What DuckDB puts in quotes as well: the signature of a function, such as 'lower(INTEGER)'.
_SIGNATURE = re.compile(r"'[\w.]+\([A-Z0-9_, \[\]()]*\)'")
_ADDRESS = re.compile(r"[^\s\"'(),;]+@[^\s\"'(),;]+")
_LONG_NUMBER = re.compile(r"\d{5,}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
MESSAGE_CHARACTERS_MAX = 500
_DRIVERS = (
    *("duckdb", "_duckdb", "psycopg2", "snowflake.connector", "dlt.destinations"),
    *("tailrace.warehouse.spark.errors", "tailrace.warehouse.mariadb.errors"),
)
# A full disk, a quota, a limit of the shell; psycopg2 has a class for it.
NO_SPACE = re.compile(r"No space left on device|File too large|Disk quota exceeded|DiskFull")
# DuckDB creates a file of changes (.wal) beside its own.
_NOT_WRITABLE = re.compile(r'Cannot open file ".*\.wal": ([\w -]+)')
NO_MEMORY = re.compile(r"Out ?of ?Memory", re.IGNORECASE)
MAKE_SPACE = "Make room where the warehouse is kept. Nothing is lost: run the same command again."
HALFWAY = re.compile(r"((?:[A-Z]?[A-Za-z/]+ )+)Error: ")


def stopped_by_signal(error: Exception) -> bool:
    """Whether DuckDB ended a statement because of a signal of this process.

    It calls the signal's handler, and replaces the exception of the handler by its own.
    """
    return isinstance(error, RuntimeError) and str(error) == "Query interrupted"


def raised_by_engine(error: Exception) -> bool:
    """Whether a driver raised the error, or dlt around it."""
    return type(error).__module__.startswith(_DRIVERS) or bool(streamed_error_class(error))


def shortage(error: Exception, name: str) -> WarehouseFailed | None:
    """The error of a statement that lacks space, memory or a right; None if it failed otherwise."""
    text = f"{type(error).__name__} {error}"
    if NO_SPACE.search(text):
        return WarehouseFailed(f"{name}: no space is left for the warehouse", hint=MAKE_SPACE)
    if reason := _NOT_WRITABLE.search(text):
        return WarehouseFailed(
            f"{name}: the folder of the warehouse's file cannot be written to: {reason[1]}",
            hint="Give this user the right to write the file and its folder.",
        )
    if NO_MEMORY.search(text):
        return MemoryShort(f"{name}: the warehouse has too little memory for it")
    return None


def described(error: Exception, name: str) -> WarehouseFailed:
    """The error of a statement with what the driver says; its detail has the driver's own words."""
    failure = error_class(error)(f"{name}: {describe_error(error)}")
    failure.detail = str(getattr(error, "dbapi_exception", error))
    return failure


def error_class(error: Exception) -> type[WarehouseFailed]:
    """StatementRefused if the statement is at fault, WarehouseFailed if the warehouse is."""
    cause = getattr(error, "dbapi_exception", error)
    families = {base.__name__ for base in type(cause).__mro__}
    refused = families & {"DataError", "ProgrammingError", "NotSupportedError"}
    return StatementRefused if refused else WarehouseFailed


def streamed_error_class(error: Exception) -> str:
    """The class of an error that DuckDB raises in a streamed result, from its text.

    >>> streamed_error_class(OSError("Conversion Error: Could not convert string 'Ann' to INT32"))
    'ConversionException'
    """
    kind = HALFWAY.match(str(error)) if isinstance(error, OSError) else None
    return kind[1].replace(" ", "") + "Exception" if kind else ""


def describe_error(error: Exception) -> str:
    """The message of an error with names and types, without texts, addresses and long numbers.

    A message about a row, such as a failed conversion, is reduced to the class of the error.
    """
    cause = getattr(error, "dbapi_exception", error)
    kind = streamed_error_class(error) or type(cause).__name__
    text = _SNOWFLAKE_CODES.sub("", str(cause).strip(), count=1)
    if not SAYS_NOTHING_PERSONAL.search(kind) and not _ABOUT_SQL.match(text):
        return kind
    return without_values(text.split("\n\n")[0].split("\nLINE")[0])


def _without_text(quoted: re.Match[str]) -> str:
    return quoted[0] if _SIGNATURE.fullmatch(quoted[0]) else "'…'"


def without_values(message: str) -> str:
    """An engine's message without what may be a value.

    >>> without_values("No function matches 'lower(INTEGER)' and 'Ann' of ann@example.com")
    "No function matches 'lower(INTEGER)' and '…' of …"
    """
    message = _QUOTED_TEXT.sub(_without_text, _CONTROL.sub(" ", message))
    message = _LONG_NUMBER.sub("…", _ADDRESS.sub("…", message))
    if len(message) > MESSAGE_CHARACTERS_MAX:
        message = message[: MESSAGE_CHARACTERS_MAX - 1] + "…"
    return message
