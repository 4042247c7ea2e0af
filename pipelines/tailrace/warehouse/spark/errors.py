"""What a server answers to a statement that fails, as errors of the kinds that drivers have."""

from __future__ import annotations

import re

# Every failure of Sail is an "internal error"; its text tells the kind.
_ABOUT_SQL = re.compile(
    r"analysis error|parse error|unknown function|cannot resolve|TABLE_OR_VIEW_NOT_FOUND"
    r"|not implemented|not supported|Error during planning|Schema error"
)
_ABOUT_VALUES = re.compile(
    r"Cast error|Parser error|overflow|Divide by zero|NOT_NULL_CONSTRAINT|CARDINALITY"
    r"|Compute error|Arrow error"
)
_UNAVAILABLE = re.compile(
    r"connection error|Unavailable|Unauthenticated|StatusCode\.(UNAVAILABLE|UNAUTHENTICATED)"
    r"|failed to connect to all addresses"
)
_PREFIX = re.compile(
    r"^[A-Z_]+: \[FlightSQL\] |\((Internal|InvalidArgument|\w+); \w+\)\.?.*$", re.S
)
_OBJECT_NAME = re.compile(r"ObjectName\(\[Identifier\(\"([^\"]*)\"\)\]\)")


# The modules of the errors of both drivers.
DRIVERS = ("adbc_driver", "pyspark", "grpc")


class SparkError(Exception):
    """A statement or the connection failed."""


class ProgrammingError(SparkError):
    """The statement is at fault, in the words of Python's database API."""


class BinderError(ProgrammingError):
    """The same, with names and types in its message and without values."""


class DataError(SparkError):
    """A value of a row is at fault; the message may have it."""


class OperationalError(SparkError):
    """The server cannot be reached."""


class ServerError(SparkError):
    """Any other failure of the server."""


def refusal_of(message: str, error: Exception | None = None) -> Exception:
    """The error to raise for a message of the server.

    >>> refusal_of('INTERNAL: [FlightSQL] plan error: analysis error: attribute '
    ...     'ObjectName([Identifier("nocolumn")]) is missing from the schema (Internal; Prepare)')
    BinderError('analysis error: attribute nocolumn is missing from the schema')
    """
    if error is not None and not type(error).__module__.startswith(DRIVERS):
        return error
    text = _OBJECT_NAME.sub(r"\1", _PREFIX.sub("", message)).strip()
    text = text.removeprefix("plan error: ")
    if _UNAVAILABLE.search(message):
        return OperationalError(text)
    if _ABOUT_VALUES.search(message):
        return DataError(text)
    if _ABOUT_SQL.search(message):
        return BinderError(text)
    return ServerError(text)
