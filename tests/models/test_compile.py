"""A definition says all of a model in one text, and means what its author wrote."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tailrace.errors import ModelDoesNotBind
from tailrace.models.compile import (
    bind,
    canonical_sql,
    compiled_sql,
    definition_fingerprint,
    fingerprint,
)
from tailrace.models.lineage import fields_read
from tailrace.models.loader import Models, read_models

NOW = datetime(2026, 11, 22, 5, 0, 0, 123456, tzinfo=UTC)
CORPUS = (Path(__file__).parent / "cases" / "corpus.sql").read_text(encoding="utf-8")


def models(folder: Path, **sql: str) -> Models:
    """A project of these models."""
    for name, text in sql.items():
        (folder / f"{name}.sql").write_text(text, encoding="utf-8")
    return read_models(folder)


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    """Landed tables with everything that a value can be."""
    with duckdb.connect() as connection:
        connection.execute(
            """
            SET TimeZone = 'UTC';
            CREATE SCHEMA salesforce;
            CREATE TABLE salesforce.contact (
                id VARCHAR, account_id VARCHAR, "Email" VARCHAR, n INT, amount DOUBLE, d DATE,
                ts TIMESTAMP, tags VARCHAR[], j JSON, s STRUCT(Street VARCHAR, zip INT)
            );
            INSERT INTO salesforce.contact VALUES
            ('1', 'a', 'X@y.z', 1, 1.5, '2020-01-31', '2020-01-31 10:00:00.123456', ['b', 'a'],
             '{"A":{"b":[1,2]},"a":5}', {'Street': 'Main', 'zip': 1}),
            ('2', 'a', 'it''s', 2, NULL, '2021-02-28', NULL, [], '{"A":1}', NULL),
            ('3', 'b', NULL, 3, 'nan', '2019-12-31', '2019-12-31 23:59:59', NULL, NULL,
             {'Street': NULL, 'zip': 3}),
            ('4', NULL, 'é%_', -7, -0.0, NULL, '1600-01-01', ['x', NULL], '[]',
             {'Street': 'a', 'zip': NULL});
            CREATE TABLE salesforce.case AS
            SELECT 'k' || id AS id, id AS contact_id, n FROM salesforce.contact;
            CREATE TABLE salesforce.account (id VARCHAR, name VARCHAR, since DATE);
            INSERT INTO salesforce.account VALUES
            ('a', 'Acme', '2020-06-01'), ('b', 'Bcme', '2019-01-01');
            """
        )
        yield connection


def rows(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[list[Any], list[str]]:
    """What a query gives: names and types, and the rows in no order."""
    found = connection.execute(sql)
    shape = [(column[0].lower(), str(column[1])) for column in found.description or ()]
    return shape, sorted(repr(row) for row in found.fetchall())


@pytest.mark.parametrize("sql", [each.strip() for each in CORPUS.split(";\n")])
def test_a_definition_gives_what_the_author_s_sql_gives(
    sql: str, tmp_path: Path, warehouse: duckdb.DuckDBPyConnection
) -> None:
    """Rows, names and types, for one construct of DuckDB's SQL after the other. What is said
    offline of the columns is what the warehouse says."""
    project = models(tmp_path, model=sql)
    bound = bind(compiled_sql(project, "model"), dataset="salesforce", now=NOW).wrapped
    shape, _ = expected = rows(warehouse, sql)
    assert expected == rows(warehouse, bound)
    columns = project.by_name["model"].columns
    if columns is not None:
        assert columns == tuple(name for name, _ in shape if name in columns)


def test_the_models_below_are_written_in(
    tmp_path: Path, warehouse: duckdb.DuckDBPyConnection
) -> None:
    project = models(
        tmp_path,
        people="SELECT id, account_id, Email FROM salesforce.contact -- everybody",
        firms="/* --- materialized: table --- */ SELECT id, name FROM salesforce.Account",
        both="SELECT people.*, f.name FROM people JOIN firms AS f ON f.id = people.account_id",
        top="SELECT name, COUNT(*) AS n FROM both GROUP BY name HAVING COUNT(*) > 1",
    )
    text = compiled_sql(project, "top")
    assert ("people", "firms", "both") == project.under("top")
    places = [text.index(f"model_{name} AS (") for name in project.under("top")]
    assert sorted(places) == places
    assert "-- everybody\n" in text
    bound = bind(text, dataset="salesforce", now=NOW).wrapped
    assert [("Acme", 2)] == warehouse.execute(bound).fetchall()


@pytest.mark.parametrize(
    "sql",
    [
        "WITH people AS (SELECT * FROM people WHERE n > 1) SELECT id FROM people",
        "WITH model_people AS (SELECT '9' AS id) SELECT p.id FROM people AS p, model_people",
        "WITH _model_x AS (SELECT 1 AS one), model_y AS (SELECT 2 AS two) SELECT id FROM people",
        "SELECT people.id FROM people WHERE people.id IN (SELECT id FROM people)",
        'SELECT "People".id FROM PEOPLE AS "People"',
        "SELECT id FROM people UNION SELECT id FROM people",
        "(SELECT id FROM people)",
        "SELECT x.id FROM (WITH people AS (SELECT id FROM people) SELECT * FROM people) AS x",
        "SELECT p.id FROM people AS p(id, k)",
    ],
)
def test_a_model_s_name_never_collides_with_the_author_s_own(
    sql: str, tmp_path: Path, warehouse: duckdb.DuckDBPyConnection
) -> None:
    project = models(tmp_path, people="SELECT id, n FROM salesforce.contact", top=sql)
    assert ("people",) == project.by_name["top"].depends_on
    bound = bind(compiled_sql(project, "top"), dataset="salesforce", now=NOW).wrapped
    found = {row[0] for row in warehouse.execute(bound).fetchall()}
    assert found in ({"1", "2", "3", "4"}, {"2", "3"})


def test_a_recursive_with_beside_a_model_works(
    tmp_path: Path, warehouse: duckdb.DuckDBPyConnection
) -> None:
    recursive = """WITH RECURSIVE up AS (
        SELECT id, n FROM people WHERE n = 1
        UNION ALL SELECT p.id, p.n FROM people AS p JOIN up ON p.n = up.n + 1
    ) SELECT id FROM up"""
    project = models(tmp_path, people="SELECT id, n FROM salesforce.contact", top=recursive)
    bound = bind(compiled_sql(project, "top"), dataset="salesforce", now=NOW).wrapped
    assert {("1",), ("2",), ("3",)} == set(warehouse.execute(bound).fetchall())


def test_a_model_built_as_a_table_can_be_read_instead(
    tmp_path: Path, warehouse: duckdb.DuckDBPyConnection
) -> None:
    project = models(
        tmp_path,
        firms="/* --- materialized: table --- */ SELECT id, name FROM salesforce.account",
        top="SELECT name FROM firms WHERE firms.id = 'a'",
    )
    text = compiled_sql(project, "top", tables_built={"firms"})
    warehouse.execute("CREATE SCHEMA IF NOT EXISTS built")
    made = bind(compiled_sql(project, "firms"), dataset="salesforce", now=NOW).wrapped
    warehouse.execute(f"CREATE OR REPLACE TABLE built.firms AS {made}")
    bound = bind(text, dataset="nowhere", now=NOW, model_dataset="built").wrapped
    assert [("Acme",)] == warehouse.execute(bound).fetchall()


def test_an_unrelated_file_changes_no_definition(tmp_path: Path) -> None:
    sql = {
        "b": "SELECT id FROM salesforce.contact",
        "d": "SELECT id FROM salesforce.account",
        "top": "SELECT d.id FROM d JOIN b ON b.id = d.id",
    }
    before = compiled_sql(models(tmp_path, **sql), "top")
    after = compiled_sql(
        models(
            tmp_path,
            **sql,
            a="SELECT * FROM b JOIN d ON TRUE JOIN top ON TRUE",
            c="SELECT * FROM d",
            zz="SELECT id FROM salesforce.contact",
        ),
        "top",
    )
    assert before == after


SAME = [
    "select  ID,email\nfrom Salesforce.CONTACT where N>1 and Email like 'A%' -- why",
    "/* --- description: A view --- */ SELECT id, email /* ! */ FROM salesforce.contact"
    " WHERE (n > 1) AND email LIKE 'A%';",
    'SELECT "id", "email" FROM "salesforce"."contact" WHERE n > 1 AND email LIKE \'A%\'',
]
OTHER = [
    "SELECT id, email FROM salesforce.contact WHERE n > 1 AND email LIKE 'a%'",
    "SELECT id, email FROM salesforce.contact WHERE n > 2 AND email LIKE 'A%'",
    "SELECT id, email AS mail FROM salesforce.contact WHERE n > 1 AND email LIKE 'A%'",
    "SELECT email, id FROM salesforce.contact WHERE n > 1 AND email LIKE 'A%'",
]


@pytest.mark.parametrize("sql", [SAME[0], SAME[2]])
def test_case_layout_and_comments_do_not_count(sql: str, tmp_path: Path) -> None:
    below = models(tmp_path, below=SAME[1].replace("(n > 1)", "n > 1"), top="SELECT * FROM below")
    one = fingerprint(canonical_sql(below, "top"))
    again = models(tmp_path, below=sql, top="select *\nfrom BELOW")
    assert one == fingerprint(canonical_sql(again, "top"))


@pytest.mark.parametrize("sql", OTHER)
def test_every_other_edit_counts_even_in_a_model_below(sql: str, tmp_path: Path) -> None:
    one = fingerprint(
        canonical_sql(models(tmp_path, below=SAME[0], top="SELECT * FROM below"), "top")
    )
    other = fingerprint(
        canonical_sql(models(tmp_path, below=sql, top="SELECT * FROM below"), "top")
    )
    assert one != other


def test_the_clock_is_the_run_s_own_and_nothing_else(
    tmp_path: Path, warehouse: duckdb.DuckDBPyConnection
) -> None:
    """Every way to ask for the time gives the time of the run, with the type it had."""
    clocks = {
        "now()": NOW,
        "current_timestamp": NOW,
        "get_current_timestamp()": NOW,
        "transaction_timestamp()": NOW,
        "current_date": NOW.date(),
        "current_date()": NOW.date(),
        "today()": NOW.date(),
        "localtimestamp": NOW.replace(tzinfo=None),
        "current_localtimestamp()": NOW.replace(tzinfo=None),
        "localtime": NOW.time(),
        "current_localtime()": NOW.time(),
        "current_time": NOW.timetz(),
        "get_current_time()": NOW.timetz(),
        "age(TIMESTAMP '2026-11-20')": timedelta(days=2),
        "age(TIMESTAMP '2026-11-22', TIMESTAMP '2026-11-20')": timedelta(days=2),
        "current_date - INTERVAL 1 YEAR": datetime(2025, 11, 22),
        "now()::DATE": NOW.date(),
    }
    sql = "SELECT " + ", ".join(f"{each} AS c{i}" for i, each in enumerate(clocks))
    text = compiled_sql(models(tmp_path, top=sql), "top")
    assert "2026" not in text.replace("2026-11-2", "")
    bound = bind(text, dataset="salesforce", now=NOW).wrapped
    found = warehouse.execute(bound)
    assert list(clocks.values()) == [
        each.astimezone(UTC) if isinstance(each, datetime) and each.tzinfo else each
        for each in found.fetchall()[0]
    ]
    types = [str(column[1]) for column in found.description or ()]
    assert types == [str(column[1]) for column in warehouse.execute(sql).description or ()]


def test_the_run_s_time_is_read_as_utc(tmp_path: Path) -> None:
    text = compiled_sql(models(tmp_path, top="SELECT current_date AS d"), "top")
    east = datetime(2026, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=9)))
    assert "'2025-12-31'" in bind(text, dataset="s", now=east).wrapped
    assert "'2026-01-01'" in bind(text, dataset="s", now=east.replace(tzinfo=None)).wrapped


def test_a_name_or_a_text_like_a_clock_stays(tmp_path: Path) -> None:
    sql = "SELECT today AS a, 'now()' AS b, c.now AS d, now(1) AS e FROM salesforce.contact AS c"
    text = compiled_sql(models(tmp_path, top=sql), "top")
    assert "CAST" not in bind(text, dataset="s", now=NOW).wrapped


def test_an_old_definition_is_bound_from_its_text_alone(
    tmp_path: Path, warehouse: duckdb.DuckDBPyConnection
) -> None:
    """The ledger keeps the text; the files it was made of may be gone."""
    project = models(
        tmp_path, below="SELECT id FROM salesforce.contact", top="SELECT id FROM below AS b"
    )
    text = compiled_sql(project, "top")
    again = bind(bind(text, dataset="salesforce", now=NOW).wrapped, dataset="x", now=NOW)
    assert text == compiled_sql(project, "top")
    assert 4 == len(warehouse.execute(bind(text, dataset="salesforce", now=NOW).wrapped).fetchall())
    assert '"x"."contact"' in again.wrapped


def test_a_landed_table_is_found_wherever_it_is(tmp_path: Path) -> None:
    """In the dataset's own case: dlt's tables are upper-case where SQL folds names up."""
    text = compiled_sql(models(tmp_path, top="SELECT id FROM salesforce.Case"), "top")
    near = bind(text, dataset="crm", now=NOW)
    assert 'FROM "crm"."case"\n' in near.wrapped
    far = bind(text, dataset="crm", now=NOW, dialect="snowflake", catalog="lake")
    assert '"LAKE"."CRM"."CASE"' in far.sql
    assert '"lake"."crm"."case"' in bind(text, dataset="crm", now=NOW, catalog="lake").wrapped


def test_a_model_in_another_dialect_becomes_duckdb_s(
    tmp_path: Path, warehouse: duckdb.DuckDBPyConnection
) -> None:
    """`dialect:` says how to read the file; definitions are always DuckDB's."""
    project = models(
        tmp_path,
        here="/* --- dialect: bigquery --- */ SELECT id, COALESCE(email, 'none') AS `n`,"
        " CASE WHEN d IS NULL THEN 1 END AS later FROM salesforce.contact WHERE id = '1'",
        top="SELECT * FROM here",
    )
    bound = bind(compiled_sql(project, "top"), dataset="salesforce", now=NOW).wrapped
    (email,) = warehouse.execute("SELECT email FROM salesforce.contact WHERE id = '1'").fetchone()
    assert ("1", email or "none") == warehouse.execute(bound).fetchall()[0][:2]
    assert ("id", "n", "later") == project.by_name["top"].columns


def test_names_are_one_in_any_case_as_in_duckdb(tmp_path: Path) -> None:
    """Where quotes or the dialect make case count, every name becomes what dlt calls it."""
    sql = """WITH "Live" AS (SELECT * FROM salesforce."Contact")
        SELECT c."Email" AS "Key", C.ID, {'Street': 'A'} AS s FROM "live" AS C"""
    text = compiled_sql(models(tmp_path, top=sql), "top")
    postgres = bind(text, dataset="crm", now=NOW, dialect="postgres").sql
    assert 'SELECT c."email" AS "key", c.id' in postgres
    assert 'FROM "crm"."contact" AS "contact"' in postgres
    assert 'FROM "live" AS c' in postgres
    assert "'Street'" in postgres
    flat = compiled_sql(models(tmp_path, top=sql.replace("{'Street': 'A'}", "'A'")), "top")
    snowflake = bind(flat, dataset="crm", now=NOW, dialect="snowflake").sql
    assert 'SELECT c."EMAIL" AS "KEY", c.id' in snowflake


# For each statement of the corpus, and a model that reads it, then for each model of the starter
# project: the beginning of the fingerprint that commit 6da763c computed. A change would make every
# audience look edited after an upgrade.
RECORDED = (Path(__file__).parent / "cases" / "fingerprints.list").read_text().splitlines()


def test_fingerprints_are_those_of_older_versions(tmp_path: Path) -> None:
    statements = [sql.strip() for sql in CORPUS.split(";\n")]
    for number, (sql, recorded) in enumerate(zip(statements, RECORDED, strict=False)):
        folder = tmp_path / str(number)
        folder.mkdir()
        project = models(folder, below=sql, top="SELECT b.* FROM below AS b -- all\n")
        given = [definition_fingerprint(project, name)[:16] for name in ("below", "top")]
        assert recorded == " ".join(given), sql


def test_fingerprints_of_the_starter_project_are_those_of_older_versions() -> None:
    project = read_models(Path(__file__).parents[2] / "models")
    recorded = dict(line.split() for line in RECORDED[len(CORPUS.split(";\n")) :])
    for name, expected in recorded.items():
        assert expected == definition_fingerprint(project, name)[:16], name
    assert set(recorded) == set(project.by_name)


def test_what_sqlglot_parses_and_cannot_write_has_a_fingerprint(tmp_path: Path) -> None:
    """It runs as it is written; layout and comments do not change its fingerprint, an edit does."""
    texts = [
        "SELECT json_extract(doc, '$..z') AS v FROM salesforce.contact",
        "SELECT json_extract(doc, '$..z') AS v -- all\n  FROM salesforce.contact;",
        "SELECT json_extract(doc, '$..y') AS v FROM salesforce.contact",
    ]
    digests = []
    for number, text in enumerate(texts):
        folder = tmp_path / str(number)
        folder.mkdir()
        project = models(folder, top=text)
        digests.append(definition_fingerprint(project, "top"))
        assert text.split(" --")[0].rstrip(";")[:40] in compiled_sql(project, "top")
        landed = {"contact": ("id", "doc")}
        read = fields_read(project, "top", columns=["v"], landed=landed)
        assert {"contact": frozenset({"id", "doc"})} == read
    assert digests[0] == digests[1] != digests[2]
    with pytest.raises(ModelDoesNotBind, match=r"json_extract\(\) may mean something else"):
        compiled_sql(project, "top", dialect="postgres")
