"""The engine's own SQL: every file renders for every dialect, and nothing bound is read as SQL."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from tailrace.clock import format_utc
from tailrace.errors import StatementInvalid
from tailrace.warehouse.bindings import Rows, identifier_text, literal_text
from tailrace.warehouse.rendering import ARGUMENTS_MAX
from tailrace.warehouse.sql_files import (
    all_statements,
    named_statement,
    read_statements,
    root,
    subject_statements,
)
from tailrace.warehouse.statements import Column, QueryText, TableName, query, script, statement
from tailrace.warehouse.templates import _pieces

SQL = root("sql")
FILES = sorted(SQL.rglob("*.sql"))
NAMES = all_statements()
# sqlglot writes them for DuckDB only, and reads what the first one attaches as text only.
OF_DUCKDB_ONLY = {
    "warehouse/attach_lake",
    "warehouse/attach_empty",
    "warehouse/attach_shared",
    "warehouse/use_empty",
    "landing/delete_changed",
    "landing/insert_changed",
    "landing/insert_distinct",
    "landing/flag_deleted_in_file",
    "landing/remove_deleted_in_file",
}
# Functions with a type of PostgreSQL's.
OF_POSTGRES_ONLY = {"halves/create_cost", "halves/create_rows"}
DIALECTS = ("duckdb", "postgres")
PROVEN_NOWHERE = ("snowflake", "bigquery", "redshift", "databricks")
# What every list stands for here: two columns, so that a missing comma would show.
TWO = (Column("id", "TEXT"), Column("select", "INTEGER"))
REPEATED = ("EACH_COLUMN", "EVERY_COLUMN", "ANY_COLUMN")
LEFT_OPEN = re.compile(r"\b(EACH|EVERY|ANY)_COLUMN\b|\b_TYPE\b|[\x02\ue000]")
NASTY = [
    "",
    "it's",
    "''; DROP TABLE runs; --",
    ":now",
    "100% %s %(x)s {} $1 ?",
    "back\\slash \\' \\n",
    "line\nbreak\ttab\rreturn",
    "/* not a comment */ -- neither",
    "\x1fnow\x1f \x02model\x02",
    "Ünïcödé 東京 🗼 \u202e",
    "$$dollar$$ E'x' \"q\" `b` [a]",
]


def written(name: str, dialect: str = "duckdb") -> list[exp.Expr]:
    """The statements under a name as they are written, with their placeholders."""
    statement = named_statement(name, dialect)
    return parsed(statement.text, statement.dialect)


@cache
def parsed(text: str, dialect: str) -> list[exp.Expr]:
    return [tree for tree in sqlglot.parse(text, read=dialect) if tree is not None]


def bindings(name: str, dialect: str) -> dict[str, Any]:
    """A binding for every placeholder of a statement."""
    trees = written(name, dialect)
    values = {p.name: 1 for tree in trees for p in tree.find_all(exp.Placeholder)}
    calls = [c for tree in trees for c in tree.find_all(exp.Anonymous) if c.name in REPEATED]
    lists = {call.expressions[0].name: TWO for call in calls}
    tables = {
        t.name: TableName("ledger", t.name) for tree in trees for t in tree.find_all(exp.Table)
    }
    return {"tables": tables, "columns": {"keys": TWO, "columns": TWO, **lists}, **values}


@pytest.mark.parametrize("dialect", [*DIALECTS, *PROVEN_NOWHERE])
def test_every_statement_renders_and_parses_in_its_own_dialect(dialect: str) -> None:
    """No gap is left open, and what comes out is SQL to the dialect it was made for."""
    of_others = OF_DUCKDB_ONLY if dialect == "postgres" else OF_DUCKDB_ONLY | OF_POSTGRES_ONLY
    for name in sorted({*NAMES} - of_others):
        if len(written(name, dialect)) > 1:
            texts = script(name, dialect, **bindings(name, dialect))
        else:
            texts = (statement(name, dialect, column=Column("note"), **bindings(name, dialect)),)
        for text in texts:
            assert sqlglot.parse_one(text, read=dialect), name
            assert not LEFT_OPEN.search(text), f"{name}: {text}"


SCRIPTS = ("version_", "disable_external_access", "lock_configuration", "retry_commits")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SQL).as_posix())
def test_every_statement_has_a_name_and_a_sentence(path: Path) -> None:
    """Only the ledger's versions and an engine's settings are several statements under one name."""
    statements = list(read_statements(path))
    assert path.read_text().startswith("-- name: ")
    for named in statements:
        comment = [line for line in named.text.splitlines() if line.startswith("--")]
        assert comment and comment[0][3].isupper(), named.name
        assert comment[-1].endswith("."), named.name
        trees = sqlglot.parse(named.text, read=named.dialect)
        assert 1 == len(trees) or named.name.startswith(SCRIPTS), named.name


def test_a_statement_for_one_engine_replaces_one_for_all() -> None:
    for path in FILES:
        statements = list(read_statements(path))
        general = {s.name for s in statements if s.only_for is None}
        assert {s.name for s in statements} == general


def test_two_statements_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "twice.sql").write_text("-- name: a\n-- One.\nSELECT 1\n" * 2)
    with pytest.raises(StatementInvalid, match="two statements named a"):
        subject_statements(tmp_path, "twice")


@pytest.mark.older_duckdb
@pytest.mark.parametrize("value", NASTY)
def test_a_text_that_is_bound_stays_a_text(value: str) -> None:
    """DuckDB reads the very text back, whatever it looks like."""
    text = statement("warehouse/dataset", "duckdb", dataset=value)
    assert [] == duckdb.sql(text).fetchall()
    (found,) = sqlglot.parse_one(text, read="duckdb").find_all(exp.Literal)
    assert value == found.this
    assert [(value,)] == duckdb.sql(f"SELECT {literal_text(value, 'duckdb')}").fetchall()


def test_values_have_the_form_of_their_type() -> None:
    """NULL, truth, numbers and moments are literals; a minus before one never makes a comment."""
    moment = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert "NULL" == literal_text(None, "duckdb")
    assert "TRUE" == literal_text(True, "postgres")
    assert "1.50" == literal_text(Decimal("1.50"), "postgres")
    assert "2026-03-29T01:30:00.000000Z" in literal_text(moment, "postgres")
    made = statement("plan/resend_members", "duckdb", run=-7, **_people(run=None))
    assert "-(-7)" in made.replace("- (", "-(")
    with pytest.raises(StatementInvalid, match="a list cannot be bound"):
        literal_text(["a"], "duckdb")


def _people(**without: None) -> dict[str, Any]:
    bound = bindings("plan/resend_members", "duckdb")
    return {name: value for name, value in bound.items() if name not in without}


def test_a_statement_is_rendered_again_for_every_value() -> None:
    """Rendering is remembered, and what was bound before is not."""
    texts = {statement("ledger/acknowledged", "duckdb", run=n, sync_key=f"a{n}") for n in range(5)}
    assert 5 == len(texts)
    assert all(f"= {n} AND sync_key = 'a{n}'" in " ".join(texts) for n in range(5))


@pytest.mark.parametrize(
    ("name", "bound", "message"),
    [
        ("ledger/acknowledged", {"run": 1}, r"acknowledged needs a value for :sync_key"),
        ("outbox/page", {"run": 1}, r"page needs the column list keys"),
        ("ledger/version_1", {}, r"version_1 holds \d+ statements, not one"),
    ],
)
def test_a_gap_left_open_is_named(name: str, bound: dict[str, Any], message: str) -> None:
    """A statement that lacks something says what, before any engine sees it."""
    with pytest.raises(StatementInvalid, match=message):
        statement(name, "duckdb", **bound)


def test_only_a_select_can_be_bound_as_a_table() -> None:
    """`query` refuses what gives no rows."""
    with pytest.raises(StatementInvalid, match="is not a SELECT"):
        query("ledger/drop_table", "duckdb", tables={"dropped": TableName("a", "b")})


def test_lists_of_any_length_make_whole_expressions() -> None:
    """No column is FALSE to ANY and TRUE to EVERY; each list stands where it was written."""
    tables = {"transitions": TableName(None, "t")}
    none = statement("plan/mark_mapping_reason", "duckdb", tables=tables, columns={"compared": ()})
    assert none.endswith("WHERE tr__t.op = 'changed' AND NOT FALSE")
    one = statement(
        "plan/mark_mapping_reason", "duckdb", tables=tables, columns={"compared": TWO[:1]}
    )
    assert one.endswith("""NOT (tr__t."id" IS DISTINCT FROM tr__t."old__id")""")
    two = statement("plan/mark_mapping_reason", "duckdb", tables=tables, columns={"compared": TWO})
    assert """ OR tr__t."select" IS DISTINCT FROM tr__t."old__select")""" in two


def test_a_text_of_many_columns_has_few_arguments_on_postgres() -> None:
    """PostgreSQL refuses a call of more than 100 arguments. The parts keep their order."""
    times = ("key_dates", "key_timestamps", "timestamps", "old_timestamps")
    none = dict.fromkeys(("keys", "columns", "old_columns", *times), ())
    dates = [Column(f"c{number}", "DATE", label=f"{number},") for number in range(240)]
    sql = statement(
        "outbox/page",
        "postgres",
        columns={**none, "dates": dates[:120], "old_dates": dates[120:]},
        **dict.fromkeys(("run", "first_seq", "last_seq", "every", "seqs"), 1),
    )
    tree = sqlglot.parse_one(sql, read="postgres")
    assert max(len(call.expressions) for call in tree.find_all(exp.Concat)) == ARGUMENTS_MAX
    assert re.findall(r"'(\d+,)'", sql) == [date.label for date in dates]


def test_the_names_of_a_bound_model_are_its_own() -> None:
    """A model may call its tables and columns what a statement calls its gaps."""
    model = QueryText(
        "SELECT _, keys, 'EACH_COLUMN' AS _TYPE FROM snapshot AS model JOIN model ON TRUE -- all"
    )
    bound = {"model": model, "snapshot": TableName("ledger", "people")}
    text = statement(
        "ledger/backfill",
        "duckdb",
        tables=bound,
        columns={"keys": (Column("id"),)},
        column=Column("city"),
    )
    assert f"FROM ({model.sql}\n) AS tr__m" in text
    assert 'UPDATE "ledger"."people" AS tr__s SET "city" = tr__m."city"' in text
    members = query("plan/members_only", "duckdb", tables=bound, column=Column("opted_out"))
    assert model.wrapped in members.sql


def test_two_models_in_one_process_are_never_mixed_up() -> None:
    """Rendered models are remembered by what they are, not by how they look."""
    texts = set()
    for n in range(200):
        model = QueryText(f"SELECT {n} AS id")
        texts.add(
            statement(
                "warehouse/describe",
                "duckdb",
                tables={"query": model, "described": TableName("temp", "d")},
            )
        )
    assert 200 == len(texts)


def test_names_are_quoted_wherever_they_stand() -> None:
    """A column called select, or with a quote in it, is a column."""
    odd = (Column('a"b'), Column("select"))
    times = (
        *("key_dates", "key_timestamps", "dates", "timestamps"),
        *("old_dates", "old_timestamps"),
    )
    lists = {"keys": odd[:1], "columns": odd[1:], "old_columns": odd[1:]}
    text = statement(
        "outbox/page",
        "duckdb",
        tables={"outbox": TableName("ledger", "outbox__x")},
        columns={**lists, **dict.fromkeys(times, ())},
        run=1,
        first_seq=1,
        last_seq=2,
        every=True,
        seqs="",
    )
    assert 'tr__o."a""b", tr__o."select", tr__o."old__select"' in text


def test_a_statement_is_rendered_once_for_all_audiences_of_a_shape() -> None:
    """Tables, labels and values are filled into the rendered text."""

    def page(audience: str) -> str:
        bound = bindings("outbox/page", "duckdb")
        bound["tables"] = {"outbox": TableName("ledger", f"outbox__{audience}")}
        bound["columns"] |= {"dates": (Column("born", "DATE", f"{audience},"),)}
        return statement("outbox/page", "duckdb", **bound)

    first = page("once")
    misses = _pieces.cache_info().misses
    second = page("it's")
    assert misses == _pieces.cache_info().misses
    assert first.replace("outbox__once", "outbox__it's").replace("'once,'", "'it''s,'") == second
    assert second != first


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "value", [*NASTY, None, True, False, 0, 7, datetime(2026, 3, 29, 1, 30, 0, 5, tzinfo=UTC)]
)
def test_names_and_values_are_written_as_sqlglot_writes_them(dialect: str, value: Any) -> None:
    """The two dialects that are written without it."""
    node = (
        exp.cast(exp.Literal.string(format_utc(value)), "TIMESTAMPTZ")
        if isinstance(value, datetime)
        else exp.convert(value)
    )
    assert node.sql(dialect) == literal_text(value, dialect)
    name = exp.to_identifier(str(value) or "x", quoted=True).sql(dialect)
    assert name == identifier_text(str(value) or "x", dialect)
    rows = Rows(("id", "order"), [(value, 1), ("b", None)])
    values = exp.values([(node, exp.convert(1)), ("b", None)], "v")
    values.args["alias"].set("columns", [exp.to_identifier(n, quoted=True) for n in rows.names])
    assert exp.select("*").from_(values).sql(dialect) == rows.text(dialect)
