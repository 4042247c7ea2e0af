"""What a server answers to a statement that fails, as errors of the kinds that drivers have."""

from __future__ import annotations

# Names and types only: unknown columns and tables, syntax, a missing right, a wrong call.
_ABOUT_SQL = frozenset(
    {
        *(
            1044,
            1046,
            1049,
            1050,
            1051,
            1052,
            1054,
            1055,
            1056,
            1060,
            1064,
            1061,
            1066,
            1072,
            1091,
            1109,
            1111,
        ),
        *(1115, 1137, 1142, 1143, 1146, 1149, 1176, 1222, 1235, 1241, 1248, 1250, 1267, 1270),
        *(1271, 1273, 1288, 1304, 1305, 1318, 1327, 1347, 1356, 1370, 1382, 1582, 1583, 1630),
        *(4015, 4016, 4019, 4078, 4079),
    }
)
# A value of a row is at fault, and the message may have it.
_ABOUT_VALUES = frozenset(
    {
        *(1048, 1062, 1104, 1136, 1172, 1242, 1260, 1264, 1265, 1292, 1301, 1364, 1365, 1366),
        *(1367, 1406, 1411, 1425, 1426, 1441, 1690, 1916, 3140, 4025, 4037, 4038, 4039, 4041),
    }
)
_TOO_LARGE = frozenset({1153, 1301})


class MariadbError(Exception):
    """A statement or the connection failed.

    Attributes:
        number: The server's or the driver's number of the error; -1 if it has none.
    """

    number = -1


class ProgrammingError(MariadbError):
    """The statement is at fault, in the words of Python's database API."""


class BinderError(ProgrammingError):
    """The same, with names and types in its message and without values."""


class DataError(MariadbError):
    """A value of a row is at fault; the message may have it."""


class OperationalError(MariadbError):
    """The server cannot be reached, or cannot do it now."""


def refusal_of(error: Exception) -> Exception:
    """The error to raise for one of the driver; other errors are returned as they are.

    >>> import pymysql
    >>> refusal_of(pymysql.err.OperationalError(1054, "Unknown column 'x' in 'SELECT'"))
    BinderError("Unknown column 'x' in 'SELECT'")
    """
    if not type(error).__module__.startswith("pymysql"):
        return error
    number, *texts = error.args or (0,)
    return numbered(number if isinstance(number, int) else 0, str(texts[0]) if texts else "")


def numbered(number: int, text: str) -> MariadbError:
    """The error for a number and a message of the server."""
    error: MariadbError
    if number in _ABOUT_SQL:
        error = BinderError(text)
    elif number in _ABOUT_VALUES:
        error = DataError(text)
    else:
        error = OperationalError(f"{number}: {text}")
    error.number = number
    return error
