"""Renders `docs/reference/sql-templates.md`: the placeholders of `sql/`, with real statements."""

from __future__ import annotations

import sqlglot

from tailrace.warehouse.sql_files import named_statement
from tailrace.warehouse.statements import Column, TableName, statement

INTRO = """\
The SQL that Tailrace runs itself is in the files of `sql/`. A statement begins with
`-- name: NAME` and is called by its subject and name, such as `ledger/acknowledge`. It is written
in DuckDB's dialect. `warehouse/statements.py` replaces the placeholders in the syntax tree, never
in the text, and sqlglot writes the result in the dialect of the warehouse. A statement named
`NAME (postgres)` replaces the general one on that engine."""
PLACEHOLDERS = (
    ("a bound table name", "the table or the query that is bound to it: `FROM snapshot AS s`"),
    ("`:name`", "the value as a literal"),
    ("`EACH_COLUMN(keys, t._)`", "one expression for each column of the list `keys`"),
    (
        "`EACH_COLUMN(columns, t._, old__)`",
        "the same in a SELECT, and each result is named `old__` and the column's name",
    ),
    ("`EVERY_COLUMN(keys, a._ = b._)`", "the conditions joined by AND; TRUE for an empty list"),
    ("`ANY_COLUMN(keys, a._ = b._)`", "the conditions joined by OR; FALSE for an empty list"),
    ("`_`", "inside these calls, the column"),
    ("`old___`", "inside these calls, the column whose name is prefixed by `old__`"),
    ("`_TYPE`", "inside these calls, the column's type: `CAST(NULL AS _TYPE)`"),
    ("`_PAIR`", "inside these calls, the other column that the caller gives for the column"),
    ("`'_LABEL'`", "inside these calls, the text that the caller gives for the column"),
    ("`AS_SENT(t._)`", "the value as JSON can have it: NaN and infinity are NULL"),
    ("`DIFFERS(c._, p._)`", "the condition that two values differ when they are sent"),
    ("`AS_STORED(m._)`", "the value in a query that creates a table with the column"),
    ("`INSERT INTO t (keys, old__columns)`", "the names of the columns of these lists"),
)
TABLES = {
    "snapshot": TableName("tailrace", "snapshot__people"),
    "delivered": TableName("tailrace", "delivered"),
    "model": TableName("salesforce", "people"),
}
KEYS = (Column("account_id"), Column("contact_id"))
COLUMNS = {"keys": KEYS, "names": KEYS, "columns": (Column("email"), Column("score", "DOUBLE"))}
EXAMPLES = (
    "ledger/insert_delivered_members",
    "ledger/delete_replaced_members",
    "reporting/count_in_model",
)


def parts() -> list[str]:
    """The sections of the page after its title, without the table of placeholders."""
    return [
        "## Examples",
        "The lists `keys` and `names` have the columns `account_id` and `contact_id`, "
        "the list `columns` has `email` and `score`. Aliases get the prefix `tr__`, so "
        "that no column has the name of an alias.",
        *(_example(name) for name in EXAMPLES),
    ]


def _example(name: str) -> str:
    written = named_statement(name, "duckdb").text.strip()
    text = statement(name, "duckdb", tables=TABLES, columns=COLUMNS, run=7, person="003A")
    bound = sqlglot.transpile(text, read="duckdb", write="duckdb", pretty=True)[0]
    return f"`{name}`:\n\n```sql\n{written}\n```\n\nbecomes\n\n```sql\n{bound}\n```"
