"""MariaDB's dialect, as a plug-in of sqlglot (`pyproject.toml`).

It is MySQL's, without what MariaDB refuses or reads differently: the alias of a table in DELETE,
FILTER, casts to JSON, and instants with a zone. A boolean is an unsigned number in a query, since
no cast makes the type of a boolean column; a session declares such columns as BOOLEAN.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import ClassVar

from sqlglot import exp
from sqlglot.dialects.mysql import MySQL
from sqlglot.generators.mysql import MySQLGenerator

from tailrace.config.installation import refuse_compiled_sqlglot

# Python would refuse the classes below with a TypeError that names neither sqlglotc nor a way out.
refuse_compiled_sqlglot()

# MariaDB's JSON is a text with this collation.
JSON_COLLATION = "utf8mb4_bin"
_MOMENTS = frozenset(
    {
        *(exp.DType.TIMESTAMP, exp.DType.TIMESTAMPNTZ, exp.DType.TIMESTAMPTZ),
        *(exp.DType.TIMESTAMPLTZ, exp.DType.DATETIME),
    }
)
_TEXTS = frozenset({exp.DType.TEXT, exp.DType.VARCHAR, exp.DType.CHAR, exp.DType.LONGTEXT})
# What a value is cast to, by the type of a column. MariaDB casts to few types.
_CAST_TO: Mapping[exp.DType, str] = {
    **dict.fromkeys(_TEXTS, "CHAR"),
    **dict.fromkeys(_MOMENTS, "DATETIME(6)"),
    **dict.fromkeys(
        (exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT), "SIGNED"
    ),
    exp.DType.BOOLEAN: "UNSIGNED",
    exp.DType.UBIGINT: "UNSIGNED",
    exp.DType.INT128: "DECIMAL(38, 0)",
    exp.DType.TIME: "TIME(6)",
}


class MariadbGenerator(MySQLGenerator):
    """Writes syntax trees as MariaDB reads them."""

    RESERVED_KEYWORDS: ClassVar[set[str]] = {
        *MySQLGenerator.RESERVED_KEYWORDS,
        *("current_role", "do_domain_ids", "excluded", "general", "ignore_domain_ids"),
        *("ignore_server_ids", "master_heartbeat_period", "offset", "page_checksum"),
        *("parse_vcol_expr", "ref_system_id", "returning", "rownum", "slow", "stats_auto_recalc"),
        *("stats_persistent", "stats_sample_pages"),
    }

    def datatype_sql(self, expression: exp.DataType) -> str:
        if expression.this in _TEXTS:
            return "LONGTEXT"
        if expression.this in _MOMENTS:
            return "DATETIME(6)"
        if expression.this == exp.DType.TIME:
            return "TIME(6)"
        if expression.this == exp.DType.INT128:
            return "DECIMAL(38, 0)"
        return super().datatype_sql(expression)

    def cast_sql(self, expression: exp.Cast, safe_prefix: str | None = None) -> str:
        kind = expression.to.this
        if kind in _MOMENTS and isinstance(expression.this, exp.Literal):
            return f"CAST('{_without_zone(expression.this.name)}' AS DATETIME(6))"
        if kind == exp.DType.JSON:
            return f"(CAST({self.sql(expression, 'this')} AS CHAR) COLLATE {JSON_COLLATION})"
        to = _CAST_TO.get(kind) if isinstance(kind, exp.DType) else None
        type_ = to or self.sql(expression, "to")
        return f"CAST({self.sql(expression, 'this')} AS {type_})"

    def delete_sql(self, expression: exp.Delete) -> str:
        table = expression.this
        if (
            isinstance(table, exp.Table | exp.Alias)
            and table.alias
            and not expression.args["tables"]
        ):
            deleted = exp.to_table(table.alias)
            return self.sql(exp.Delete(**{**expression.args, "tables": [deleted]}))
        return super().delete_sql(expression)

    def filter_sql(self, expression: exp.Filter) -> str:
        function = expression.this.copy()
        condition = expression.expression.this
        counted = function.this
        if isinstance(counted, exp.Distinct):
            counted = counted.expressions[0]
        value = exp.Literal.number(1) if isinstance(counted, exp.Star) else counted.copy()
        counted.replace(exp.Case().when(condition.copy(), value))
        return self.sql(function)

    def intdiv_sql(self, expression: exp.IntDiv) -> str:
        return self.binary(expression, "DIV")

    def regexplike_sql(self, expression: exp.RegexpLike) -> str:
        return self.binary(expression, "REGEXP")

    def currenttimestamp_sql(self, expression: exp.CurrentTimestamp) -> str:
        return "CURRENT_TIMESTAMP(6)"


class Mariadb(MySQL):
    """The dialect `mariadb`."""

    Generator = MariadbGenerator


def _without_zone(text: str) -> str:
    """A time in UTC without its zone, since MariaDB's times have none.

    >>> _without_zone("2026-03-29T03:30:00.5+02:00"), _without_zone("2026-03-29")
    ('2026-03-29 01:30:00.500000', '2026-03-29')
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        # Another form of a literal; the server reads it, or refuses it.
        return text.replace("'", "''").replace("\\", "\\\\")
    if moment.tzinfo is None:
        return text
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
