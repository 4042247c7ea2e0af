"""Values that are equal when they are sent are no change, on both engines and at any depth.

The plan's counts, the preview and the messages follow the same rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from warehouses.postgres_server import is_built_with
from warehouses.stores import LOCAL_ENGINES, SPARK, PostgresStore, Store, store_on

from tailrace.plan.policy import PlanOptions
from tailrace.reporting.history import trace
from tailrace.testing import SegmentSimulator

HEADER = """/* ---
key: id
user_id: id
track: {changed: Row Changed, properties: {v: v, w: w}}
--- */
"""
# The type of a column, its first value, an equal one and another one, by engine.
DUCKDB = {
    "date": ("DATE", "NULL", "'infinity'", "'2026-01-31'"),
    "timestamp": ("TIMESTAMP", "'-infinity'", "'10000-01-01'", "'9999-12-31 23:59:59.999999'"),
    "instant": ("TIMESTAMPTZ", "'infinity'", "NULL", "'0001-01-01 00:00:00+00'"),
    "list": ("DOUBLE[]", "['1.5', 'NaN']::DOUBLE[]", "[1.5, NULL]", "[NULL, 1.5]"),
    "infinite": ("DOUBLE[]", "['Infinity']", "['-Infinity']", "[0]"),
    "float": ("FLOAT[]", "['NaN']", "[NULL]", "[]"),
    "deep": ("DOUBLE[][]", "[['NaN'], []]", "[[NULL], []]", "[[], [NULL]]"),
    "struct": ("STRUCT(a DOUBLE, b TEXT)", "{'a': 'NaN', 'b': 'x'}", "{'a': NULL, 'b': 'x'}",
               "{'a': NULL, 'b': NULL}"),
    "no_struct": ("STRUCT(a DOUBLE)", "{'a': 'Infinity'}", "{'a': NULL}", "NULL"),
    "structs": ("STRUCT(\"A b\" DOUBLE, l INTEGER[])[]", "[{'A b': 'NaN', 'l': [1]}]",
                "[{'A b': '-Infinity', 'l': [1]}]", "[{'A b': 'NaN', 'l': [2]}]"),
    "json": ("JSON", """'{"a": 1, "b": [1.50]}'""", """'{"b":[1.5],"a":1.0}'""",
             """'{"b":[1.5],"a":true}'"""),
    "json_deep": ("JSON", """'[{"a": {"x": 1, "y": null}}]'""", """'[{"a":{"y":null,"x":1}}]'""",
                  """'[{"a":{"x":1}}]'"""),
    "json_text": ("JSON", """'{"\\u0061": "\\u00e9", "n": 1e2}'""", """'{"n": 100.0, "a": "é"}'""",
                  """'{"a": "é"}'"""),
    "json_twice": ("JSON", """'{"a": 1, "a": 2}'""", """'{"a": 2}'""", """'{"a": 1}'"""),
    "json_wide": ("JSON", "'[12345678901234567890123]'", "'[ 12345678901234567890123 ]'",
                  "'[12345678901234567890124]'"),
    "json_null": ("JSON", "'null'", "NULL", "'[null]'"),
    "json_list": ("JSON[]", """['{"a": 1, "b": 2}']::JSON[]""", """['{"b":2,"a":1}']::JSON[]""",
                  """['{"b":2}']::JSON[]"""),
    "entries": ("MAP(TEXT, INTEGER)", "MAP {'k': 1, 'l': 2}", "MAP {'l': 2, 'k': 1}",
                "MAP {'l': 1, 'k': 2}"),
    "deep_map": ("STRUCT(m MAP(TEXT, INTEGER))[]", "[{'m': MAP {'k': 1, 'l': 2}}]",
                 "[{'m': MAP {'l': 2, 'k': 1}}]", "[{'m': MAP {'l': 2}}]"),
    "nanoseconds": ("TIMESTAMP_NS", "'2026-01-31 00:00:00.123456001'",
                    "'2026-01-31 00:00:00.123456002'", "'2026-01-31 00:00:00.123457'"),
    "map": ("MAP(TEXT, DOUBLE)", "MAP {'k': 'NaN'}", "MAP {'k': NULL}", "MAP {'l': 'NaN'}"),
}  # fmt: skip
POSTGRES = {
    "date": ("date", "NULL", "'infinity'", "'2026-01-31'"),
    "timestamp": ("TIMESTAMP", "'-infinity'", "'10000-01-01'", "'9999-12-31 23:59:59.999999'"),
    "instant": ("TIMESTAMPTZ", "'infinity'", "NULL", "'0001-01-01 00:00:00+00'"),
    "list": ("double precision[]", "'{1.5,NaN}'", "'{1.5,NULL}'", "'{NULL,1.5}'"),
    "infinite": ("double precision[]", "'{Infinity}'", "'{-Infinity}'", "'{0}'"),
    "float": ("real[]", "'{NaN}'", "'{NULL}'", "'{}'"),
    "numeric": ("numeric[]", "'{NaN,1.50}'", "'{NULL,1.5}'", "'{1.5,NULL}'"),
    "deep": ("double precision[]", "'{{NaN},{1}}'", "'{{NULL},{1}}'", "'{{1},{NULL}}'"),
    "json": ("json", """'{"a": 1, "b": [1.50]}'""", """'{"b":[1.5],"a":1}'""", "'[]'"),
    "jsonb": ("jsonb", """'{"a": 1, "b": null}'""", """'{"b":null,"a":1}'""", """'{"a": 1}'"""),
    "json_null": ("json", "'null'", "'null'", """'{"a": null}'"""),
    "json_list": ("json[]", """ARRAY['{"a": 1}']::json[]""", """ARRAY['{"a":1}']::json[]""",
                  "ARRAY['1']::json[]"),
    "json_half_pair": ("json", "'[\"\\ud83d\"]'", "'[\"\\ud83d\"]'", "'[\"\\ude00x\"]'"),
    "json_pair": ("json", """'["\\ud83d\\ude00", 1]'""", """'["😀",1]'""", """'["😀😀",1]'"""),
    "json_huge": ("json", "'[1e999999]'", "'[1e999999]'", "'[1e99]'"),
    "xml": ("xml", "'<a/>'", "'<a/>'", "'<b/>'"),
    "point": ("point", "'(1,2)'", "'(1, 2)'", "'(1,3)'"),
    "box": ("box", "'(2,2),(0,0)'", "'(0,0),(2,2)'", "'(4,1),(0,0)'"),
    "json_nul": ("json", "'\"\\u0000\"'", "'\"\\u0000\"'", "'\"\\u0001\"'"),
}  # fmt: skip
# DuckDB's words for values that Spark has too; it has neither JSON nor infinite dates. NaN inside
# of a list or a struct is a change there, of which the mapper sends nothing.
ON_SPARK = {
    "date": ("DATE", "'2026-01-31'::DATE", "'2026-01-31'::DATE", "NULL"),
    "ratio": ("DOUBLE", "'NaN'::DOUBLE", "NULL", "0.5::DOUBLE"),
    "endless": ("DOUBLE", "'-Infinity'::DOUBLE", "'NaN'::DOUBLE", "-0.5::DOUBLE"),
    "list": ("DOUBLE[]", "[1.5::DOUBLE, NULL]", "[1.5::DOUBLE, NULL]", "[NULL, 1.5::DOUBLE]"),
    "struct": ("STRUCT(a DOUBLE, b TEXT)", "{'a': 1.5::DOUBLE, 'b': 'x'}",
               "{'a': 1.5::DOUBLE, 'b': 'x'}", "{'a': NULL::DOUBLE, 'b': NULL::TEXT}"),
}  # fmt: skip


# The cases are written in the words of DuckDB or of PostgreSQL.
OF_THESE_WORDS = [
    engine for engine in LOCAL_ENGINES if getattr(engine, "values", ()) != ("snowflake",)
]


@pytest.fixture(params=OF_THESE_WORDS)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with SegmentSimulator() as segment, store_on(request, tmp_path / "shop", segment) as store:
        yield store


def write(shop: Store, sql: str) -> None:
    """Run statements in the engine's own words."""
    with shop._cursor() as cursor:
        cursor.execute(sql)


@pytest.mark.parametrize("shop", [*OF_THESE_WORDS, *SPARK], indirect=True)
def test_equal_values_are_no_change(shop: Store) -> None:
    """Row by row: the equal value changes nothing, the other one is one change."""
    is_postgres = isinstance(shop, PostgresStore)
    cases = {"postgres": POSTGRES, "spark": ON_SPARK}.get(shop.dialect, DUCKDB)
    if is_postgres and not is_built_with("libxml2"):
        cases = {name: case for name, case in cases.items() if name != "xml"}
    dialect = "dialect: postgres\n" if is_postgres else ""
    write(shop, "CREATE SCHEMA salesforce")
    for name, (kind, first, _, _) in cases.items():
        write(shop, f"CREATE TABLE salesforce.{name} (id TEXT, v {kind}, w INTEGER)")
        write(shop, f"INSERT INTO salesforce.{name} VALUES ('1', {first}, 1)")
        text = HEADER.replace("key: id", f"{dialect}key: id")
        shop.audience(f"{text}SELECT id, v, w FROM salesforce.{name}", name)
    objects = ", ".join(f'"{name}"' for name in cases)
    config = shop.root / ".dlt" / "config.toml"
    config.write_text(config.read_text().replace('"Contact", "Account"', objects))
    assert 0 == shop.sync().exit_code

    def moved() -> dict[str, tuple[int, int]]:
        planned = shop.plan(options=PlanOptions(show_rows_max=5, show_values=True))
        calls = {
            audience.audience.name: sum(audience.calls.values()) for audience in planned.audiences
        }
        for audience in planned.audiences:
            shown = [change.column for row in audience.rows for change in row.changes]
            assert (["v"] if audience.changed else []) == shown, audience.audience.name
            assert sum(len(row.messages) for row in audience.rows) == calls[audience.audience.name]
        done = shop.sync()
        assert 0 == done.exit_code, done.errors
        return {row["audience"]: (row["changed"], row["sent"]) for row in done.audiences}

    for name, (_, _, equal, _) in cases.items():
        write(shop, f"UPDATE salesforce.{name} SET v = {equal}")
    assert dict.fromkeys(cases, (0, 0)) == moved()
    for name, (_, _, _, other) in cases.items():
        write(shop, f"UPDATE salesforce.{name} SET v = {other}")
    assert dict.fromkeys(cases, (1, 1)) == moved()
    traced = trace(shop.project, "1", clock=shop.clock, show_values=True)["audiences"]
    assert len(cases) == len(traced)
    assert "NaN" not in repr(traced) and "inf" not in repr(traced).replace("infinite", "")


def test_reordered_json_beside_a_change_is_not_previous(shop: Store) -> None:
    """Only the column that is sent differently counts; an edit may reorder JSON."""
    is_postgres = isinstance(shop, PostgresStore)
    make = "jsonb_build_object" if is_postgres else "json_object"
    to_json = f"{make}('a', w, 'b', 1)::text::json"
    reordered = f"{make}('b', 1, 'a', w)::text::json"
    dialect = "dialect: postgres\n" if is_postgres else ""
    header = HEADER.replace("key: id", f"{dialect}key: id")
    write(shop, "CREATE SCHEMA salesforce")
    write(shop, "CREATE TABLE salesforce.contact (id TEXT, v JSON, w INTEGER, x INTEGER)")
    for key in "12":
        document = '{"a": 1, "b": 2}'
        write(shop, f"INSERT INTO salesforce.contact VALUES ('{key}', '{document}', 1, 1)")
    shop.audience(f"{header}SELECT id, v, x AS w FROM salesforce.contact", "stored")
    shop.audience(f"{header}SELECT id, {to_json} AS v, x AS w FROM salesforce.contact", "built")
    assert 0 == shop.sync().exit_code

    write(shop, """UPDATE salesforce.contact SET v = '{"b":2,"a":1}', x = 2 WHERE id = '1'""")
    write(shop, "UPDATE salesforce.contact SET w = 2 WHERE id = '2'")
    shop.audience(f"{header}SELECT id, {reordered} AS v, x AS w FROM salesforce.contact", "built")
    planned = shop.plan(options=PlanOptions(show_rows_max=5, show_values=True))
    stored, built = sorted(planned.audiences, key=lambda audience: -len(audience.audience.name))
    assert [["w"]] == [[change.column for change in row.changes] for row in stored.rows]
    assert {"1": ["w"], "2": ["v"]} == {
        row.key[0]: [change.column for change in row.changes] for row in built.rows
    }
    assert {"data": {"entered": 0, "changed": 2, "exited": 0}} == built.by_reason
    done = shop.sync()
    assert {"stored": 1, "built": 2} == {row["audience"]: row["sent"] for row in done.audiences}


@pytest.mark.parametrize("role", ["key", "user_id", "message_id"])
def test_json_as_a_key_or_an_id(shop: Store, role: str) -> None:
    """DuckDB compares its text; on PostgreSQL it is refused by name, and the others are sent."""
    is_postgres = isinstance(shop, PostgresStore)
    write(shop, "CREATE SCHEMA salesforce")
    write(shop, "CREATE TABLE salesforce.contact (id TEXT, v JSON, w INTEGER)")
    write(shop, """INSERT INTO salesforce.contact VALUES ('1', '"a"', 1)""")
    roles = {"key": "id", "user_id": "id", role: "v"}
    message_id = "message_id: v, " if role == "message_id" else ""
    header = (
        f"/* ---\n{'dialect: postgres' if is_postgres else ''}\nkey: {roles['key']}\n"
        f"user_id: {roles['user_id']}\n"
        f"track: {{changed: Row Changed, {message_id}properties: {{w: w}}}}\n--- */\n"
    )
    shop.audience(f"{header}SELECT id, v, w FROM salesforce.contact", "by_json")
    shop.audience(HEADER + "SELECT id, w AS v, w FROM salesforce.contact", "by_text")
    done = shop.sync()
    if is_postgres:
        assert (1, {"by_text": 1}) == (
            done.exit_code,
            {row["audience"]: row["sent"] for row in done.audiences if row["sent"]},
        )
        assert '"v" has type json, whose values the warehouse cannot compare' in str(done.errors[0])
        assert "by_json.sql" in str(done.errors[0].file)
        text = f"{header}SELECT id, v::text AS v, w FROM salesforce.contact"
        shop.audience(text, "by_json")
        done = shop.sync()
    assert 0 == done.exit_code, done.errors
