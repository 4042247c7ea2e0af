"""Names as the warehouse stores them: quoted ones in its case, and keywords quoted.

dlt creates upper-case names where SQL folds unquoted names to upper case. DuckDB takes words as
names that other engines reserve.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect, NormalizationStrategy

# What an engine refuses as an unquoted name of a column or a table, by its manual.
RESERVED: Mapping[str, frozenset[str]] = {
    "snowflake": frozenset(
        {
            *("ALL", "ALTER", "AND", "ANY", "AS", "BETWEEN", "BY", "CASE", "CAST", "CHECK"),
            *("COLUMN", "CONNECT", "CONSTRAINT", "CREATE", "CROSS", "CURRENT", "DELETE"),
            *("DISTINCT", "DROP", "ELSE", "EXISTS", "FALSE", "FOLLOWING", "FOR", "FROM", "FULL"),
            *("GRANT", "GROUP", "HAVING", "ILIKE", "IN", "INCREMENT", "INNER", "INSERT"),
            *("INTERSECT", "INTO", "IS", "JOIN", "LATERAL", "LEFT", "LIKE", "LOCALTIME"),
            *("LOCALTIMESTAMP", "MINUS", "NATURAL", "NOT", "NULL", "OF", "ON", "OR", "ORDER"),
            *("QUALIFY", "REGEXP", "REVOKE", "RIGHT", "RLIKE", "ROW", "ROWS", "SAMPLE"),
            *("SELECT", "SET", "SOME", "START", "TABLE", "TABLESAMPLE", "THEN", "TO"),
            *("TRIGGER", "TRUE", "TRY_CAST", "UNION", "UNIQUE", "UPDATE", "USING", "VALUES"),
            *("WHEN", "WHENEVER", "WHERE", "WITH", "ACCOUNT", "CONNECTION", "DATABASE"),
            *("ISSUE", "ORGANIZATION", "SCHEMA", "VIEW"),
        }
    )
}


def stored_name(name: str, dialect: str) -> str:
    """A quoted name as the warehouse has it.

    >>> stored_name("contact", "snowflake"), stored_name("contact", "postgres")
    ('CONTACT', 'contact')
    """
    return name.upper() if name.islower() and folds_up(dialect) else name


@lru_cache(maxsize=16)
def folds_up(dialect: str) -> bool:
    """Whether the engine stores unquoted names in upper case."""
    strategy = Dialect.get_or_raise(dialect).normalization_strategy
    return strategy is NormalizationStrategy.UPPERCASE


def with_stored_names(tree: exp.Expr, dialect: str) -> exp.Expr:
    """The tree with its quoted names as the warehouse has them; the others fold by themselves."""
    if not folds_up(dialect):
        return tree
    reserved = RESERVED.get(dialect, frozenset())
    for node in tree.find_all(exp.Identifier):
        if node.name.upper() in reserved:
            node.set("quoted", True)
        if node.quoted:
            node.set("this", stored_name(node.name, dialect))
    return tree
