"""A process that watches, on a PostgreSQL server that drops its connections."""

from __future__ import annotations

from pathlib import Path

import psycopg2
import pytest
from org_shop import AUDIENCE, OrgShop, org_shop
from run.test_watch import Script, retitle

pytestmark = pytest.mark.postgres


def test_lost_connections_are_opened_again(tmp_path: Path, postgres_database: str) -> None:
    """The pause is that of a failure; the lock is taken again by the same owner."""
    with org_shop(tmp_path / "shop") as shop:
        keep_in(postgres_database, shop)
        script = Script(shop)

        def drop_connections() -> None:
            retitle(shop, 0, "Chief")()
            with psycopg2.connect(postgres_database) as connection:
                connection.cursor().execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE pid <> pg_backend_pid() AND datname = current_database()"
                )

        result = script.watch(None, drop_connections, None, None, cycles=8)
        assert 0 == result.exit_code
        assert [("people", 0, 1, 0)] == list(script.moves().values())[-1]
        assert 1 <= result.data["watch"]["failed_cycles"] <= 2
        assert 9 == len(shop.segment_events())


def test_a_cycle_with_news_runs_only_the_audiences_whose_table_was_written(
    tmp_path: Path, postgres_database: str
) -> None:
    """Each table has one audience. A cycle with news also notices another program's write."""
    with org_shop(tmp_path / "shop") as shop:
        keep_in(postgres_database, shop)
        names = AUDIENCE.format(name="names").replace("title: title", "title: name")
        shop.audience(
            names.replace("title FROM", "name FROM").replace(".contact", ".account"), "names"
        )

        def rename_account() -> None:
            retitle(shop, 0, "Head")()
            with psycopg2.connect(postgres_database) as connection:
                connection.cursor().execute(
                    "UPDATE salesforce.account SET name = 'Acme'"
                    " WHERE id = (SELECT MIN(id) FROM salesforce.account)"
                )

        script = Script(shop)
        result = script.watch(retitle(shop, 0, "Chief"), rename_account)
        assert 0 == result.exit_code
        run = [
            {entry["audience"] for entry in run.data["audiences"] if not entry["skipped"]}
            for run in script.runs.values()
        ]
        assert [{"people", "names"}, {"people"}, {"people", "names"}] == run
        assert [("names", 0, 1, 0), ("people", 0, 1, 0)] == script.moves()[2]


def keep_in(database: str, shop: OrgShop) -> None:
    """Keep the shop's tables and its ledger in a database of PostgreSQL."""
    config = shop.root / ".dlt" / "config.toml"
    text = config.read_text().replace('warehouse = "duckdb"', 'warehouse = "postgres"')
    config.write_text(text.partition("[destination.duckdb]")[0] + SOURCES)
    shop.environ["DESTINATION__POSTGRES__CREDENTIALS"] = database


SOURCES = """[sources.salesforce]
objects = ["Contact", "Account"]
"""
