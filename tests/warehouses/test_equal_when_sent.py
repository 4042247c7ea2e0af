"""Values that are equal when they are sent are no change, on both engines and at any depth.

The plan's counts, the preview and the messages follow the same rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from warehouses.stores import WAREHOUSES, PostgresStore, Store, store_on

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
    "json_nul": ("json", "'\"\\u0000\"'", "'\"\\u0000\"'", "'\"\\u0001\"'"),
}  # fmt: skip


@pytest.fixture(params=WAREHOUSES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with SegmentSimulator() as segment, store_on(request, tmp_path / "shop", segment) as store:
        yield store


def write(shop: Store, sql: str) -> None:
    """Run statements in the engine's own words."""
    with shop._cursor() as cursor:
        cursor.execute(sql)


def test_equal_values_are_no_change(shop: Store) -> None:
    """Row by row: the equal value changes nothing, the other one is one change."""
    is_postgres = isinstance(shop, PostgresStore)
    cases = POSTGRES if is_postgres else DUCKDB
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
