"""A project over tables of a shop and models of dbt: one run, one day later, and its commands."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from shop import Shop

from tailrace import Project
from tailrace.cli.commands.doctor import examine
from tailrace.clock import SystemClock
from tailrace.errors import SeveralModelErrors
from tailrace.testing import SegmentSimulator

SOURCES = """sources:
- name: orders
  dataset: shop
  table: orders
  freshness: {column: loaded_at, hold_after: 24h}
"""
CUSTOMERS = "model: dbt://customers\nuser_id: customer_id\nidentify: {traits: {email: email}}\n"
ORDERS = """/* ---
key: id
user_id: id
track: {properties: {total: total, email: email}}
--- */
SELECT o.customer_id AS id, SUM(o.total) AS total, MAX(c.email) AS email
FROM shop.orders AS o JOIN shop_customers AS c USING (customer_id) GROUP BY ALL
"""
TESTS = """tests:
- name: totals are per customer
  given:
    shop.orders:
    - {customer_id: c1, total: 2.5}
    - {customer_id: c1, total: 1.0}
    main.customers:
    - {customer_id: c1, email: a@example.com}
  expect:
    members:
    - {id: c1, total: 3.5, email: a@example.com}
"""
DBT_TESTS = """tests:
- name: the address is a trait
  given:
    main.customers: [{customer_id: c1, email: a@example.com}]
  expect:
    calls: [{type: identify, userId: c1}]
"""
TABLES = (
    "CREATE SCHEMA IF NOT EXISTS shop",
    "CREATE OR REPLACE TABLE main.customers AS"
    " SELECT 'c1' AS customer_id, 'a@example.com' AS email",
    "CREATE OR REPLACE TABLE shop.orders AS SELECT 'c1' AS customer_id, 2.5 AS total,"
    " TIMESTAMP '2026-11-26 20:00:00' AS loaded_at",
)


class DayClock(SystemClock):
    """A clock that stands still at a time."""

    at = datetime(2026, 11, 27, 6, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


def manifest(database: str = "warehouse") -> dict[str, Any]:
    return {
        "metadata": {
            "dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json",
            "adapter_type": "duckdb",
            "project_name": "shop",
        },
        "nodes": {
            "model.shop.customers": {
                "unique_id": "model.shop.customers",
                "name": "customers",
                "resource_type": "model",
                "package_name": "shop",
                "database": database,
                "relation_name": f'"{database}"."main"."customers"',
                "columns": {
                    "customer_id": {"constraints": [{"type": "primary_key"}]},
                    "email": {},
                },
                "tags": ["marts"],
                "config": {"materialized": "table"},
                "checksum": {"name": "sha256", "checksum": "1"},
            }
        },
    }


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """An audience over a model of dbt, one that joins it with a declared table, one of neither."""
    shop = Shop(tmp_path, clock=DayClock())
    (tmp_path / "dbt" / "target").mkdir(parents=True)
    (tmp_path / "dbt" / "target" / "manifest.json").write_text(json.dumps(manifest()))
    config = tmp_path / ".dlt" / "config.toml"
    setting = '[tailrace.dbt]\nmanifest = "dbt/target/manifest.json"\n'
    config.write_text(config.read_text() + setting)
    (tmp_path / "models" / "sources.yml").write_text(SOURCES)
    (tmp_path / "models" / "shop_customers.yml").write_text("model: dbt://customers\n")
    audiences = tmp_path / "models" / "audiences"
    (audiences / "customers.yml").write_text(CUSTOMERS)
    (audiences / "customers.test.yml").write_text(DBT_TESTS)
    (audiences / "spenders.sql").write_text(ORDERS)
    (audiences / "spenders.test.yml").write_text(TESTS)
    return shop


def project(shop: Shop) -> Project:
    return Project.load(shop.root, environ=shop.environ, clock=shop.clock)


def test_a_run_holds_what_reads_an_old_or_missing_table_and_sends_the_rest(shop: Shop) -> None:
    """Exit 3, with the reason in the result; the tables are read again when they are loaded."""
    with SegmentSimulator() as segment, shop.connection() as warehouse:
        shop.environ |= {
            "DESTINATION__SEGMENT__HOST": segment.url,
            "DESTINATION__SEGMENT__WRITE_KEY": segment.write_key,
        }
        for statement in TABLES:
            warehouse.execute(statement)
        warehouse.close()
        first = project(shop).sync()
        assert (0, {"customers": 1, "spenders": 1}) == (first.exit_code, sent(first))
        with shop.connection() as changed:
            changed.execute("UPDATE main.customers SET email = 'b@example.com'")
        shop.clock.at = datetime(2026, 11, 28, 6, tzinfo=UTC)
        late = project(shop).sync()
        assert (3, {"customers": 1, "spenders": 0}) == (late.exit_code, sent(late))
        assert "shop.orders is 1d 10h old, and may be 1d old" in held_reason(late)
        with shop.connection() as changed:
            changed.execute("DROP TABLE main.customers")
        gone = project(shop).sync()
        assert (3, {"customers": 0, "spenders": 0}) == (gone.exit_code, sent(gone))
        assert "main.customers (dbt://customers) is missing; shop.orders is" in held_reason(gone)
        for statement in TABLES:
            with shop.connection() as loaded:
                loaded.execute(statement.replace("2026-11-26", "2026-11-28"))
        assert 0 == project(shop).sync().exit_code


def sent(result: Any) -> dict[str, int]:
    return {entry.audience: entry.sent for entry in result.audiences.values()}


def held_reason(result: Any) -> str:
    (guard,) = (g for g in result.audiences["spenders"].guards if g.name == "upstream")
    assert guard.held
    return guard.message


def test_the_other_commands_know_sources_and_models_of_dbt(shop: Shop) -> None:
    """`test` runs on rows given for them, `ls` lists them, `validate` and `doctor` look at them."""
    assert {"passed": 2, "failed": 0} == {
        key: project(shop).test().data[key] for key in ("passed", "failed")
    }
    listed = {entry["name"]: entry for entry in project(shop).ls().data["models"]}
    assert "model.shop.customers" == listed["customers"]["dbt"]
    assert (["customer_id"], ["marts"]) == (listed["customers"]["key"], listed["customers"]["tags"])
    assert ["shop.orders"] == listed["spenders"]["sources"]
    chosen = project(shop).ls(select=["tag:marts"]).data["models"]
    assert {"customers", "shop_customers"} == {entry["name"] for entry in chosen}
    assert [] == [w for w in project(shop).validate().warnings if "held" in w["message"]]
    with shop.connection() as warehouse:
        warehouse.execute(TABLES[1])
    (warning,) = (w for w in project(shop).validate().warnings if w["file"] == "models/sources.yml")
    assert "shop.orders is missing: the audiences that read it are held" == warning["message"]
    assert ("models/sources.yml", 2) == (warning["file"], warning["line"])
    checks = examine(shop.root, None, clock=shop.clock)
    sources = {check.found: check.status for check in checks if check.check == "source"}
    assert {
        "main.customers (dbt://customers) is there": "ok",
        "shop.orders is missing": "warning",
    } == sources


def test_a_model_of_dbt_in_another_file_is_refused_before_anything_starts(shop: Shop) -> None:
    file = shop.root / "dbt" / "target" / "manifest.json"
    file.write_text(json.dumps(manifest("jaffle_shop")))
    with pytest.raises(SeveralModelErrors) as raised:
        project(shop).validate()
    messages = {error.message for error in raised.value.flattened()}
    assert {
        "dbt builds customers in the database jaffle_shop, and this project reads the database "
        "warehouse"
    } == messages
