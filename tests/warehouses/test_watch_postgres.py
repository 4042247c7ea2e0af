"""A process that watches, on a PostgreSQL server that drops its connections."""

from __future__ import annotations

from pathlib import Path

import psycopg2
import pytest
from org_shop import org_shop
from run.test_watch import Script, retitle

pytestmark = pytest.mark.postgres


def test_lost_connections_are_opened_again(tmp_path: Path, postgres_database: str) -> None:
    """The pause is that of a failure; the lock is taken again by the same owner."""
    with org_shop(tmp_path / "shop") as shop:
        config = shop.root / ".dlt" / "config.toml"
        text = config.read_text().replace('warehouse = "duckdb"', 'warehouse = "postgres"')
        config.write_text(text.partition("[destination.duckdb]")[0] + SOURCES)
        shop.environ["DESTINATION__POSTGRES__CREDENTIALS"] = postgres_database
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


SOURCES = """[sources.salesforce]
objects = ["Contact", "Account"]
"""
